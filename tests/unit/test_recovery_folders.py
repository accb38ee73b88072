"""What is what in the WAL archive: by the names of folders and files alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from drydock.errors import DrydockError
from drydock.recovery.archive import folders
from drydock.recovery.archive.folders import Archive, Form, Part
from drydock.recovery.wal.positions import Segment
from drydock.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

SYSTEM = "7555000111222333444"


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    """An archive with nothing in it."""
    return Archive(Settings(root=tmp_path), SYSTEM)


def part(name: str, incarnation: int = 1) -> Part:
    """A part of the archive."""
    return Part(
        system_identifier=SYSTEM,
        name=name,
        incarnation=incarnation,
        timeline=1,
        start="0/1000000",
        begun="2026-11-21T10:00:00+00:00",
        reason="first start",
    )


def test_parts_are_listed_in_the_order_they_began_in(archive: Archive) -> None:
    """The second part of incarnation 2 comes before incarnation 10, and beginning one twice changes nothing."""
    for name in ("10", "2.2", "1", "2"):
        archive.begin(part(name))
    archive.begin(part("1", incarnation=9))
    assert [found.name for found in archive.parts()] == ["1", "2", "2.2", "10"]
    assert archive.parts()[0].incarnation == 1


def test_a_file_is_known_by_its_name(archive: Archive) -> None:
    """Segments in each form, and nothing else."""
    folder = archive.begin(part("1"))
    names = [Segment(1, number).name for number in range(1, 5)]
    made = [f"{names[0]}.zst.age", f"{names[1]}.zst", names[2], f"{names[3]}.partial", "00000002.history", ".x", "y"]
    for name in made:
        (folder / name).touch()
    found = archive.segments("1")
    assert [(stored.segment.number, stored.form) for stored in found] == [
        (1, Form.SEALED),
        (2, Form.SEALED),
        (3, Form.FINISHED),
        (4, Form.PARTIAL),
    ]
    assert {stored.part for stored in found} == {"1"}
    assert archive.histories() == {2: [folder / "00000002.history"]}


def test_nothing_is_found_where_nothing_is(archive: Archive, tmp_path: Path) -> None:
    """An archive that never began has no parts, and its cluster is not listed."""
    assert archive.parts() == []
    assert folders.system_identifiers(Settings(root=tmp_path)) == []


def test_clusters_are_found_by_their_folders(archive: Archive, tmp_path: Path) -> None:
    """A base backup alone counts as well."""
    archive.begin(part("1"))
    (tmp_path / "backups" / "base" / "42").mkdir(parents=True)
    assert folders.system_identifiers(Settings(root=tmp_path)) == ["42", SYSTEM]


def test_a_damaged_description_is_an_error(archive: Archive) -> None:
    """It names the file."""
    folder = archive.begin(part("1"))
    (folder / folders.PART_FILE).write_text("{")
    with pytest.raises(DrydockError, match=r"part\.json is damaged"):
        archive.parts()


def test_slots_have_names_that_postgres_takes() -> None:
    """Letters, digits and underscores."""
    assert folders.slot_name(folders.part_name(3)) == "drydock_3"
    assert folders.slot_name(folders.part_name(3, 2)) == "drydock_3_2"


@pytest.mark.parametrize("name", ["", "0", "1.0", "01", "1.", "a", "1.2.3"])
def test_other_names_are_no_parts(name: str) -> None:
    """What somebody put beside them is not taken for one."""
    with pytest.raises(ValueError, match=r".*"):
        folders.part_order(name)
