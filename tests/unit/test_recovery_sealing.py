"""Sealing: what is finished is packed and known by its hash; what is written to, or wrong, stays as it is."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from drydock.backup import encryption, packing
from drydock.errors import DrydockError
from drydock.fault_points import Point
from drydock.recovery.archive.catalogue import Catalogue
from drydock.recovery.archive.folders import Archive, Form
from drydock.recovery.upkeep import sealing
from drydock.recovery.wal.positions import Segment
from drydock.settings import Settings
from tests.wal_files import SYSTEM, begin, content, write

if TYPE_CHECKING:
    from pathlib import Path

    from drydock.recovery.archive.folders import Stored

HISTORY = "1\t0/5000000\tno recovery target specified\n"
SEALED = {**{number: [Form.SEALED] for number in range(1, 6)}, 6: [Form.PARTIAL]}
PROGRAM = """
import sys
from pathlib import Path
from drydock.recovery.upkeep import sealing
from drydock.recovery.archive.folders import Archive
from drydock.settings import Settings
settings = Settings(root=Path(sys.argv[1]))
print(sealing.seal(settings, Archive(settings, sys.argv[2]), writing="1").segments)
"""
SEAL = [point for point in Point if point.startswith("seal")]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Of a checkout that encrypts nothing."""
    return Settings(root=tmp_path)


@pytest.fixture
def archive(settings: Settings) -> Archive:
    """An archive whose part 1 holds five finished segments and one that is being written."""
    made = Archive(settings, SYSTEM)
    folder = begin(made)
    for number in range(1, 6):
        write(folder, Segment(1, number))
    write(folder, Segment(1, 6), ".partial", pages=3)
    return made


def forms(archive: Archive, part: str = "1") -> dict[int, list[Form]]:
    found: dict[int, list[Form]] = {}
    for stored in archive.segments(part):
        found.setdefault(stored.segment.number, []).append(stored.form)
    return found


def held(stored: Stored, archive: Archive, sealed: encryption.Sealing = encryption.OPEN) -> bytes:
    """What is in a sealed segment, by the catalogue."""
    expected, target = Catalogue(archive).find(stored.part, stored.segment), io.BytesIO()
    assert expected is not None
    packing.unpack(stored.path, target, expected, sealed)
    return target.getvalue()


def test_finished_segments_are_sealed_and_the_one_being_written_is_not(settings: Settings, archive: Archive) -> None:
    """Packed much smaller, with the same content; a second run has nothing to do."""
    done = sealing.seal(settings, archive, writing="1")
    assert (done.segments, done.before, done.refused) == (5, 5 << 24, {})
    assert 0 < done.after < done.before / 50
    assert forms(archive) == SEALED
    for stored in archive.segments("1")[:5]:
        assert held(stored, archive) == content(stored.segment)
        assert stored.path.stat().st_mode & 0o777 == 0o600
    assert sealing.seal(settings, archive, writing="1").segments == 0


def test_the_newest_file_of_the_part_being_written_stays_plain(settings: Settings, archive: Archive) -> None:
    """Finished or not: pg_receivewal finds in it where to go on. In a part that is over it is sealed as well."""
    (archive.folder / "1" / f"{Segment(1, 6).name}.partial").unlink()
    sealing.seal(settings, archive, writing="1")
    assert forms(archive)[5] == [Form.FINISHED]
    sealing.seal(settings, archive, writing="2")
    assert forms(archive)[5] == [Form.SEALED]


def test_the_newest_is_of_the_newest_timeline(settings: Settings, archive: Archive) -> None:
    """Where a segment is there on two timelines, the archiver goes on with the later one's."""
    folder = archive.folder / "1"
    (folder / f"{Segment(1, 6).name}.partial").unlink()
    write(folder, Segment(2, 5))
    sealing.seal(settings, archive, writing="1")
    assert [stored.path.name for stored in archive.segments("1") if stored.form is Form.FINISHED] == [
        Segment(2, 5).name
    ]


def test_a_part_that_is_over_is_known_to_its_end(settings: Settings, archive: Archive) -> None:
    """Its last, unfinished segment is entered as it is, until the part is written again."""
    name = f"{Segment(1, 6).name}.partial"
    sealing.seal(settings, archive, writing="2")
    row = next(row for row in Catalogue(archive).rows("1") if row.file == name)
    assert row.packed.size == row.packed.unpacked == 1 << 24
    assert Catalogue(archive).find("1", Segment(1, 6)) is None
    sealing.seal(settings, archive, writing="1")
    assert name not in {row.file for row in Catalogue(archive).rows("1")}


def test_a_history_is_sealed_once_and_stays_plain_for_the_archiver(settings: Settings, archive: Archive) -> None:
    """Both forms in the part being written, the sealed one alone in a part that is over."""
    path = archive.folder / "1" / "00000002.history"
    path.write_text(HISTORY)
    for _ in range(2):
        sealing.seal(settings, archive, writing="1")
        assert sorted(found.name for found in archive.histories()[2]) == [path.name, f"{path.name}.zst"]
    sealing.seal(settings, archive, writing="2")
    assert [found.name for found in archive.histories()[2]] == [f"{path.name}.zst"]
    assert [row.timeline for row in Catalogue(archive).rows("1") if row.file.endswith(".history.zst")] == [2]


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(content(Segment(1, 3))[:1000], id="cut off"),
        pytest.param(content(Segment(1, 4)), id="another segment's"),
        pytest.param(content(Segment(1, 3), system="1234"), id="another cluster's"),
    ],
)
def test_what_is_not_what_its_name_says_is_never_sealed(settings: Settings, archive: Archive, wrong: bytes) -> None:
    """It stays as it is and is told; the others are sealed."""
    path = archive.folder / "1" / Segment(1, 3).name
    path.write_bytes(wrong)
    done = sealing.seal(settings, archive, writing="1")
    assert (done.segments, list(done.refused)) == (4, [path])
    assert path.read_bytes() == wrong


def test_a_plain_segment_that_contradicts_its_sealed_form_is_told(settings: Settings, archive: Archive) -> None:
    """Neither is removed."""
    sealing.seal(settings, archive, writing="1")
    path = write(archive.folder / "1", Segment(1, 3), pages=17)
    done = sealing.seal(settings, archive, writing="1")
    assert list(done.refused) == [path]
    assert forms(archive)[3] == [Form.FINISHED, Form.SEALED]


def test_a_sealed_form_that_is_damaged_is_replaced_while_the_plain_one_is_there(
    settings: Settings, archive: Archive
) -> None:
    """The plain one is what counts then."""
    sealing.seal(settings, archive, writing="1")
    path = write(archive.folder / "1", Segment(1, 3))
    path.with_name(f"{path.name}.zst").write_bytes(b"damaged")
    assert sealing.seal(settings, archive, writing="1").segments == 1
    assert held(archive.segments("1")[2], archive) == content(Segment(1, 3))


@pytest.mark.parametrize("point", SEAL)
def test_a_kill_at_any_step_leaves_one_form_or_both(settings: Settings, archive: Archive, point: Point) -> None:
    """SIGKILL: every segment is still there, and the next run finishes the work and clears what was left."""
    command = [sys.executable, "-c", PROGRAM, str(settings.root), SYSTEM]
    killed = subprocess.run(command, env={**os.environ, "DRYDOCK_KILL_AT": point}, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert set(forms(archive)) == set(range(1, 7))
    sealing.seal(settings, archive, writing="1")
    assert forms(archive) == SEALED
    for stored in archive.segments("1")[:5]:
        assert held(stored, archive) == content(stored.segment)
    assert not list((archive.folder / "1").glob(".*"))


@pytest.mark.parametrize("damage", ["lost", "damaged", "emptied"])
def test_a_lost_catalogue_is_made_again_from_the_files(settings: Settings, archive: Archive, damage: str) -> None:
    """The same entries; a file that does not prove itself is left out."""
    sealing.seal(settings, archive, writing="1")
    before = {(row.file, row.packed) for row in Catalogue(archive).rows()}
    bad = archive.folder / "1" / f"{Segment(1, 2).name}.zst"
    bad.write_bytes((archive.folder / "1" / f"{Segment(1, 3).name}.zst").read_bytes())
    for path in archive.folder.glob("catalogue.sqlite*"):
        path.unlink()
    if damage != "lost":
        archive.catalogue.write_bytes(b"no database at all" * 1000 if damage == "damaged" else b"")
    sealing.seal(settings, archive, writing="1")
    after = {(row.file, row.packed) for row in Catalogue(archive).rows()}
    assert after == {entry for entry in before if entry[0] != bad.name}


def test_two_runs_at_once_seal_everything_once(settings: Settings, archive: Archive) -> None:
    """The second waits for the first."""
    command = [sys.executable, "-c", PROGRAM, str(settings.root), SYSTEM]
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert sum(int(run.communicate()[0]) for run in runs) == 5
    assert set(forms(archive)) == set(range(1, 7))


def test_sealed_segments_are_encrypted_where_backups_are(tmp_path: Path, archive: Archive) -> None:
    """Without the private key they are sealed all the same; it takes the key to read them."""
    import pyrage

    identity = pyrage.x25519.Identity.generate()
    (tmp_path / "key").write_text(str(identity))
    (tmp_path / "key").chmod(0o600)
    closed = Settings(root=tmp_path, backup_recipients=(str(identity.to_public()),))
    sealing.seal(closed, archive, writing="1")
    stored = archive.segments("1")[0]
    assert stored.path.name.endswith(".zst.age")
    with pytest.raises(DrydockError, match="no identity is set"):
        held(stored, archive)
    key = encryption.Sealing(closed.backup_recipients, tmp_path / "key")
    assert held(stored, archive, key) == content(stored.segment)


def test_a_full_disk_keeps_the_plain_segment(
    settings: Settings, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever stops the packing, the segment and nothing else is there afterwards."""

    def full(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        sealing.seal(settings, archive, writing="1")
    assert forms(archive)[1] == [Form.FINISHED]
    assert not list((archive.folder / "1").glob(".*"))
