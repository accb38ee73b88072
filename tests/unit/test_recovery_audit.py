"""The audit finds every deletion, truncation, flip, swap and duplicate of any file of an archive."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from drydock.backup import packing
from drydock.backup.encryption import OPEN
from drydock.errors import DrydockError
from drydock.recovery.archive import laying_out, lives
from drydock.recovery.archive.folders import Archive
from drydock.recovery.bases import base, base_manifest
from drydock.recovery.bases.base_manifest import Proof
from drydock.recovery.history import relations
from drydock.recovery.history.relations import Map, Relation
from drydock.recovery.upkeep import audit, audit_part, sealing
from drydock.recovery.upkeep.audit import Scope
from drydock.recovery.wal.positions import Segment, parse_history
from drydock.settings import Settings
from tests.unit.test_base_backups import LABEL, MANIFEST, archive_of
from tests.wal_files import SYSTEM, begin, write

if TYPE_CHECKING:
    from drydock.recovery.upkeep.audit_part import Finding

FORK = "1\t0/5000000\tno recovery target specified\n"
RECEIVED = Segment(2, 7).start + 100


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout with two base backups, a part that is over, and one that is being written; all as it should be."""
    root = tmp_path_factory.mktemp("whole")
    build(Settings(root=root))
    return root


def build(settings: Settings) -> Archive:
    archive = Archive(settings, SYSTEM)
    first = begin(archive)
    for number in range(1, 6):
        write(first, Segment(1, number), ".partial" if number == 5 else "", pages=900)
    second = begin(archive, "2", timeline=2, start="0/5000000", parent=1)
    (second / "00000002.history").write_text(FORK)
    for number in range(5, 8):
        write(second, Segment(2, number), ".partial" if number == 7 else "", pages=900)
    take(archive, "20261121T100000Z", "1", 1, 1)
    take(archive, "20261121T110000Z", "2", 2, 5)
    sealing.seal(settings, archive, writing="2")
    return archive


def take(archive: Archive, name: str, part: str, timeline: int, number: int) -> None:
    """A proven base backup that begins in a segment."""
    start, stop = f"0/{number}000028", f"0/{number}000100"
    label = LABEL.replace("1/2000028", start).replace("TIMELINE: 3", f"TIMELINE: {timeline}")
    wal = {"Timeline": timeline, "Start-LSN": start, "End-LSN": stop}
    made = archive_of(
        {
            "backup_label": label.encode(),
            "base/1": b"x" * 99,
            "backup_manifest": json.dumps({"WAL-Ranges": [wal]}).encode(),
        }
    )
    folder = archive.bases / name
    folder.mkdir(parents=True)
    packed = packing.pack(io.BytesIO(made), folder / base.TAR)
    facts = {"part": part, "incarnation": int(part), "timeline": timeline, "start": start, "stop": stop}
    manifest = base_manifest.write(replace(MANIFEST, **facts, files={base.TAR: packed}), folder)  # type: ignore[arg-type]
    proof = Proof(identity=manifest.identity, when="2026-11-21T10:00:00+00:00", tool="0.1.0", seconds=1)
    base_manifest.write_proof(proof, folder)


@pytest.fixture
def archive(whole: Path, tmp_path: Path) -> Archive:
    """A copy of it to damage."""
    shutil.copytree(whole / "backups", tmp_path / "backups")
    return Archive(Settings(root=tmp_path), SYSTEM)


def findings(archive: Archive) -> list[Finding]:
    return audit.audit(Scope(archive=archive, sealing=OPEN, writing="2", received=RECEIVED), lambda _line: None)


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    """As `whole`, with the WAL encrypted and no private key at hand."""
    import pyrage

    recipient = str(pyrage.x25519.Identity.generate().to_public())
    return build(Settings(root=tmp_path_factory.mktemp("encrypted"), backup_recipients=(recipient,)))


def test_without_the_private_key_hashes_are_compared(encrypted: Archive) -> None:
    """A history that cannot be opened is no damage, and hides none; one that lies plain beside is read instead."""
    plain = encrypted.folder / "2" / "00000002.history"
    assert laying_out.descents(encrypted, OPEN)[2] == parse_history(2, FORK)
    assert findings(encrypted) == []
    plain.unlink()
    with pytest.raises(DrydockError, match="no identity is set"):
        laying_out.descents(encrypted, OPEN)
    assert findings(encrypted) == []
    sealed = encrypted.folder / "1" / f"{Segment(1, 2).name}.zst.age"
    sealed.write_bytes(sealed.read_bytes()[:-1])
    assert [found.where for found in findings(encrypted)] == [str(sealed)]


def names(root: Path) -> list[str]:
    archive = Archive(Settings(root=root), SYSTEM)
    files = [path for path in [*archive.folder.rglob("*"), *archive.bases.rglob("*")] if path.is_file()]
    return sorted(str(path.relative_to(root)) for path in files if not path.name.startswith("catalogue"))


FILES = (
    "wal/1/part.json",
    *(f"wal/1/{Segment(1, number).name}.zst" for number in range(1, 5)),
    f"wal/1/{Segment(1, 5).name}.partial",
    "wal/2/part.json",
    "wal/2/00000002.history",
    "wal/2/00000002.history.zst",
    *(f"wal/2/{Segment(2, number).name}.zst" for number in (5, 6)),
    f"wal/2/{Segment(2, 7).name}.partial",
    *(f"base/{name}/{file}" for name in ("20261121T100000Z", "20261121T110000Z") for file in ("base.json", base.TAR)),
)
# The archiver fetches a plain history again, and the packed one is what counts; the proof of a backup is no part of it.
REPLACEABLE = {"wal/2/00000002.history"}


def at(archive: Archive, name: str) -> Path:
    kind, _, rest = name.partition("/")
    return (archive.folder if kind == "wal" else archive.bases) / rest


def test_a_whole_archive_has_no_findings(archive: Archive) -> None:
    """Nothing is invented, and every file of it is in the table of these tests."""
    assert findings(archive) == []
    there = {name for name in FILES if at(archive, name).exists()}
    assert there == set(FILES)
    proofs = len(list(archive.bases.glob("*/proof.json")))
    assert len(names(archive.folder.parents[2])) == len(FILES) + proofs


@pytest.mark.parametrize("name", [name for name in FILES if name not in REPLACEABLE])
def test_a_deleted_file_is_found(archive: Archive, name: str) -> None:
    """Each of them."""
    at(archive, name).unlink()
    assert findings(archive)


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_cut_off_is_found(archive: Archive, name: str) -> None:
    """By half, and by its last byte."""
    path = at(archive, name)
    content = path.read_bytes()
    for size in (len(content) // 2, len(content) - 1):
        path.write_bytes(content[:size])
        if not name.endswith("base.json") or size < len(content) - 1:  # whose last byte is a line feed
            assert findings(archive), size


@pytest.mark.parametrize("name", [name for name in FILES if not name.endswith((".partial", ".history"))])
@pytest.mark.parametrize("place", [0.0, 0.5, 0.999])
def test_a_flipped_bit_is_found(archive: Archive, name: str, place: float) -> None:
    """At the beginning, in the middle and at the end of everything that has a hash."""
    path = at(archive, name)
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 4
    path.write_bytes(content)
    assert findings(archive)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (FILES[1], FILES[2]),
        (FILES[4], f"wal/2/{Segment(2, 5).name}.zst"),
        (f"base/20261121T100000Z/{base.TAR}", f"base/20261121T110000Z/{base.TAR}"),
        ("base/20261121T100000Z/base.json", "base/20261121T110000Z/base.json"),
        ("wal/1/part.json", "wal/2/part.json"),
    ],
)
def test_two_files_that_are_swapped_are_found(archive: Archive, one: str, other: str) -> None:
    """Segments, the content of base backups, descriptions."""
    first, second = at(archive, one), at(archive, other)
    spare = first.with_name("spare")
    first.rename(spare)
    second.rename(first)
    spare.rename(second)
    assert findings(archive)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (FILES[1], f"wal/1/{Segment(1, 9).name}.zst"),
        (FILES[1], f"wal/1/{Segment(2, 1).name}.zst"),
        (FILES[1], f"wal/2/{Segment(1, 1).name}.zst"),
        (FILES[1], "wal/1/copy"),
        (f"wal/2/{Segment(2, 7).name}.partial", f"wal/2/{Segment(2, 8).name}.partial"),
        (f"wal/2/{Segment(2, 7).name}.partial", f"wal/2/{Segment(2, 7).name}.old"),
        (f"base/20261121T100000Z/{base.TAR}", f"base/20261121T100000Z/{base.TAR}.copy"),
    ],
)
def test_a_duplicate_under_another_name_is_found(archive: Archive, source: str, target: str) -> None:
    """As another segment's, on another timeline, in another part, and under a name of no meaning."""
    shutil.copy(at(archive, source), at(archive, target))
    assert findings(archive)


def test_a_whole_folder_that_is_gone_or_there_twice_is_found(archive: Archive) -> None:
    """Base backups and parts."""
    older = archive.bases / "20261121T100000Z"
    shutil.copytree(older, archive.bases / "20261121T100001Z")
    assert [finding.what for finding in findings(archive)] == ["it is a copy of 20261121T100000Z"]
    shutil.rmtree(archive.bases / "20261121T100001Z")
    shutil.copytree(archive.folder / "1", archive.folder / "3")
    assert findings(archive)
    shutil.rmtree(archive.folder / "3")
    shutil.rmtree(archive.bases / "20261121T110000Z")
    assert [finding.what for finding in findings(archive)] == ["it is missing"]


def test_maps_of_tables_belong_there_and_damaged_ones_are_found(archive: Archive) -> None:
    """They cost a restore nothing, but names in the history."""
    files = {1: Relation(1, "public", "users", "r")}
    relations.write(
        archive, Map(taken="", timeline=1, begin=1, end=2, running=(), oid=1, name="app", files=files, watched=True)
    )
    (path,) = (archive.folder / relations.FOLDER).iterdir()
    assert findings(archive) == []
    path.write_text(path.read_text()[:-20])
    assert [(finding.where, finding.what) for finding in findings(archive)] == [(str(path), audit.UNREADABLE)]
    path.rename(path.with_name("copy"))
    assert [finding.where for finding in findings(archive)] == [str(path.with_name("copy"))]


def test_an_archiver_that_is_behind_is_found(archive: Archive) -> None:
    """What the server has had confirmed must be there."""
    scope = Scope(archive=archive, sealing=OPEN, writing="2", received=Segment(2, 9).start + 1)
    found = audit.audit(scope, lambda _line: None)
    assert [Path(finding.where).name for finding in found] == [Segment(2, 8).name, Segment(2, 9).name]


def test_an_unproven_base_backup_is_told(archive: Archive) -> None:
    """It may be whole; nobody knows."""
    (archive.bases / "20261121T110000Z" / base_manifest.PROOF).unlink()
    assert [finding.what for finding in findings(archive)] == ["it is unproven"]


def test_a_tar_that_is_no_base_backup_is_told(archive: Archive) -> None:
    """However well it is described."""
    folder = archive.bases / "20261121T110000Z"
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w"):
        pass
    (folder / base.TAR).unlink()
    packed = packing.pack(io.BytesIO(made.getvalue()), folder / base.TAR)
    base_manifest.write(replace(base_manifest.read(folder), files={base.TAR: packed}), folder)
    assert findings(archive)


def test_notes_of_lives_that_are_damaged_are_found_with_what_mends_them(archive: Archive) -> None:
    """`restore --at` sends people here; the command that is named leaves an archive without findings."""
    path = archive.folder / lives.FILE
    path.write_text("[\n")
    (finding,) = findings(archive)
    assert (finding.where, finding.fix.split(";")[0]) == (str(path), f"rm {path}")
    path.unlink()
    assert findings(archive) == []
    assert [life.part for life in lives.lives(archive)] == ["1", "2"]


def test_a_damaged_description_of_a_part_leads_on(archive: Archive) -> None:
    """Not back to archive.verify; with the part out of the way the rest of the archive can be read."""
    path = archive.folder / "2" / "part.json"
    path.write_text("{")
    (finding,) = findings(archive)
    assert "part.json is damaged" in finding.what
    assert f"mv {path.parent} {path.parent}.damaged" in finding.fix
    path.parent.rename(f"{path.parent}.damaged")
    assert [part.name for part in archive.parts()] == ["1"]


@pytest.mark.parametrize("damage", ["", "no database at all"])
def test_without_its_catalogue_sound_segments_are_not_lost(archive: Archive, damage: str) -> None:
    """One line about the catalogue; later one for each part until `up` enters them; what is damaged is told as ever."""
    archive.catalogue.unlink()
    if damage:
        archive.catalogue.write_text(damage)
    assert [(one.where, one.fix) for one in findings(archive)] == [(str(archive.catalogue), audit_part.ENTERED)]
    told = [(Path(one.where).name, one.fix) for one in findings(archive)]
    assert told == [(part, audit_part.ENTERED) for part in ("1", "2")]
    at(archive, FILES[2]).write_bytes(at(archive, FILES[2]).read_bytes()[:1000])
    assert audit_part.LOST in [one.fix for one in findings(archive)]


def test_a_base_backup_that_proves_damaged_counts_as_such(archive: Archive) -> None:
    """As where a restore finds it out: no other begins with it, and a new one is due; its proof is none any more."""
    path = at(archive, f"base/20261121T110000Z/{base.TAR}")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    (finding,) = findings(archive)
    newest = base.bases(archive)[-1]
    assert (newest.name, newest.proven) == ("20261121T110000Z", False)
    assert newest.damage == finding.what
    assert findings(archive) == [finding]
