"""Descriptions of base backups, and the tar stream they come from."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drydock.backup.manifest import PackedFile
from drydock.errors import DrydockError
from drydock.recovery.archive.folders import Archive
from drydock.recovery.bases import base, base_manifest
from drydock.recovery.bases.base_manifest import BaseManifest, Proof
from drydock.recovery.bases.base_tar import Looking, Span
from drydock.settings import Settings
from tests.wal_files import SYSTEM

if TYPE_CHECKING:
    from pathlib import Path

LABEL = """START WAL LOCATION: 1/2000028 (file 000000030000000100000002)
CHECKPOINT LOCATION: 1/2000060
BACKUP METHOD: streamed
BACKUP FROM: primary
START TIME: 2026-11-21 12:10:09 UTC
LABEL: pg_basebackup base backup
START TIMELINE: 3
"""
WAL = {"Timeline": 3, "Start-LSN": "1/2000028", "End-LSN": "1/2000100"}
MANIFEST = BaseManifest(
    system_identifier=SYSTEM,
    incarnation=1,
    part="1",
    timeline=1,
    start="0/2000028",
    stop="0/2000100",
    started="2026-11-21T10:00:00.5+00:00",
    stopped="2026-11-21T10:00:01.5+00:00",
    reason="first",
    tool="0.1.0",
    project="shop",
    checkout="abcd1234",
    database="app",
    engine="embedded",
    runs="wheel",
    postgres="16.14",
    postgres_number=160014,
    extensions={"vector": "0.8.5"},
    commit="",
    roles={"owner": "app_owner"},
    settings={"max_connections": "100"},
    files={base.TAR: PackedFile(size=4, sha256="88" * 32, unpacked=9)},
)


def archive_of(files: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        folder = tarfile.TarInfo("pg_wal")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return made.getvalue()


WHOLE = {
    "backup_label": LABEL.encode(),
    "base/1/1259": bytes(8192) + b"x",
    "empty": b"",
    "global/pg_control": b"c" * 8192,
    "backup_manifest": json.dumps({"WAL-Ranges": [WAL]}).encode(),
}


@given(st.lists(st.integers(min_value=1, max_value=20000), min_size=1, max_size=50))
def test_a_stream_is_handed_on_and_looked_into(sizes: list[int]) -> None:
    """However it is cut into pieces: the same bytes, and where the backup lies in the WAL."""
    made, told = archive_of(WHOLE), list[int]()
    looking, found = Looking(io.BytesIO(made), told.append), b""
    for size in sizes:
        found += looking.read(size)
    found += looking.read(-1)
    assert found == made
    assert looking.span() == Span(3, 0x102000028, 0x102000100)
    assert told[-1] == looking.done == len(made)


def test_a_member_of_more_than_8_gigabytes_is_passed_over() -> None:
    """Its size stands in the header in base 256."""
    member = tarfile.TarInfo("base/5/16384")
    member.size = 9 << 30
    looking = Looking(io.BytesIO(member.tobuf(format=tarfile.GNU_FORMAT)), lambda _done: None)
    looking.read()
    assert looking._left == 9 << 30


@pytest.mark.parametrize(
    "files",
    [
        pytest.param({name: text for name, text in WHOLE.items() if name != "backup_label"}, id="no label"),
        pytest.param({name: text for name, text in WHOLE.items() if name != "backup_manifest"}, id="no manifest"),
        pytest.param(
            {**WHOLE, "backup_label": LABEL.replace("TIMELINE: 3", "TIMELINE: 2").encode()}, id="contradiction"
        ),
        pytest.param({**WHOLE, "backup_manifest": b"{"}, id="damaged manifest"),
        pytest.param({**WHOLE, "backup_manifest": b'{"WAL-Ranges": []}'}, id="no WAL"),
    ],
)
def test_what_is_no_whole_backup_is_refused(files: dict[str, bytes]) -> None:
    """Label and manifest must be there and say the same."""
    looking = Looking(io.BytesIO(archive_of(files)), lambda _done: None)
    looking.read()
    with pytest.raises(DrydockError, match="pg_basebackup"):
        looking.span()


def test_a_stream_without_its_end_is_refused() -> None:
    """pg_basebackup was ended after the manifest."""
    made = archive_of(WHOLE).rstrip(b"\0")
    looking = Looking(io.BytesIO(made), lambda _done: None)
    looking.read()
    with pytest.raises(DrydockError, match="incomplete"):
        looking.span()


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    """An archive without base backups."""
    return Archive(Settings(root=tmp_path), SYSTEM)


def stored(archive: Archive, name: str, manifest: BaseManifest = MANIFEST) -> Path:
    """A base backup, as far as its description goes."""
    folder = archive.bases / name
    folder.mkdir(parents=True)
    base_manifest.write(manifest, folder)
    (folder / base.TAR).write_bytes(b"1234")
    return folder


def test_base_backups_are_listed_in_the_order_of_the_archive(archive: Archive) -> None:
    """By part and position, whatever the clock said when they were named."""
    stored(archive, "20261121T100000Z", replace(MANIFEST, part="10", incarnation=10))
    stored(archive, "20261121T100001Z", replace(MANIFEST, part="2", incarnation=2))
    stored(archive, "20261121T100001Z-2", replace(MANIFEST, start="0/1000028"))
    stored(archive, "20261121T100002Z")
    found = base.bases(archive)
    assert [(one.part, one.start) for one in found] == [
        ("1", 0x1000028),
        ("1", 0x2000028),
        ("2", 0x2000028),
        ("10", 0x2000028),
    ]
    assert (found[0].stop, found[0].timeline, found[0].stopped.isoformat()) == (
        0x2000100,
        1,
        "2026-11-21T10:00:01.500000+00:00",
    )


def test_unusable_base_backups_are_not_listed(archive: Archive) -> None:
    """A flipped byte in the description, a file cut off or missing, another cluster's, one being written."""
    whole = stored(archive, "20261121T100000Z")
    flipped = stored(archive, "20261121T100001Z") / base_manifest.FILE
    flipped.write_text(flipped.read_text().replace("0/2000100", "0/2000101"))
    (stored(archive, "20261121T100002Z") / base.TAR).write_bytes(b"123")
    (stored(archive, "20261121T100003Z") / base.TAR).unlink()
    stored(archive, "20261121T100004Z", replace(MANIFEST, system_identifier="1"))
    stored(archive, ".unfinished-abc")
    (archive.bases / "20261121T100005Z").mkdir()
    assert [found.path for found in base.bases(archive)] == [whole]


def test_a_proof_counts_for_the_backup_it_was_made_for(archive: Archive) -> None:
    """Not for another one, and not where it cannot be read."""
    stored(archive, "20261121T100000Z")
    (found,) = base.bases(archive)
    proof = Proof(identity=found.manifest.identity, when="2026-11-21T10:01:00+00:00", tool="0.1.0", seconds=1.0)
    assert found.proof is None
    base_manifest.write_proof(proof, found.path)
    assert base.bases(archive)[0].proof == proof
    base_manifest.write_proof(replace(proof, identity="other"), found.path)
    assert base.bases(archive)[0].proof is None
    (found.path / base_manifest.PROOF).write_text("{")
    assert base.bases(archive)[0].proof is None


def test_damage_is_remembered_until_it_is_disproved(archive: Archive) -> None:
    """It costs the proof; a note that cannot be read is one all the same."""
    stored(archive, "20261121T100000Z")
    (found,) = base.bases(archive)
    proof = Proof(identity=found.manifest.identity, when="2026-11-21T10:01:00+00:00", tool="0.1.0", seconds=1.0)
    base_manifest.write_proof(proof, found.path)
    assert found.damage == ""
    base_manifest.note_damage(found.path, "a bit is wrong.")
    (found,) = base.bases(archive)
    assert (found.damage, found.proof) == ("a bit is wrong.", None)
    (found.path / base_manifest.DAMAGE).write_text("{")
    assert "cannot be read" in base.bases(archive)[0].damage
    base_manifest.write_proof(proof, found.path)
    (found,) = base.bases(archive)
    assert (found.damage, found.proof) == ("", proof)


def test_a_description_of_a_newer_drydock_is_a_sentence(archive: Archive) -> None:
    """With the way out."""
    folder = stored(archive, "20261121T100000Z", replace(MANIFEST, format=99))
    with pytest.raises(DrydockError, match="newer drydock") as caught:
        base_manifest.read(folder)
    assert "pip install --upgrade drydock" in caught.value.hint
