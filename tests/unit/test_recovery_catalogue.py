"""What the catalogue knows of sealed files."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest

from drydock.backup.manifest import PackedFile
from drydock.errors import DrydockError
from drydock.recovery.archive.catalogue import Catalogue, Row
from drydock.recovery.archive.folders import Archive
from drydock.recovery.wal.positions import Segment
from drydock.settings import Settings
from tests.wal_files import SYSTEM

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    """An archive with nothing in it."""
    return Archive(Settings(root=tmp_path), SYSTEM)


def row(number: int, part: str = "1", size: int = 100) -> Row:
    segment = Segment(1, number)
    packed = PackedFile(size=size, sha256="ab" * 32, unpacked=1 << 24)
    return Row(part=part, file=f"{segment.name}.zst", timeline=1, number=number, packed=packed, sealed_at="2026-11-21")


def test_what_is_recorded_is_found(archive: Archive) -> None:
    """By part and segment, also by another opener; the others are unknown."""
    Catalogue(archive).record([row(1), row(2), row(2, part="2", size=7)])
    catalogue = Catalogue(archive)
    assert catalogue.find("1", Segment(1, 2)) == row(2).packed
    assert catalogue.find("2", Segment(1, 2)) == row(2, size=7).packed
    assert catalogue.find("1", Segment(1, 3)) is None
    assert catalogue.find("1", Segment(2, 2)) is None
    assert [found.number for found in catalogue.rows("1")] == [1, 2]


def test_recording_replaces_and_forgetting_removes(archive: Archive) -> None:
    """The last word on a file counts."""
    catalogue = Catalogue(archive)
    catalogue.record([row(1), row(1, size=9), row(2)])
    catalogue.forget("1", [row(2).file, "never heard of"])
    assert [(found.file, found.packed.size) for found in catalogue.rows()] == [(row(1).file, 9)]


def test_only_a_new_catalogue_calls_itself_new(archive: Archive) -> None:
    """One that was made, or made again because it could not be read."""
    assert Catalogue(archive).new
    assert not Catalogue(archive).new
    archive.catalogue.write_bytes(b"something else" * 100)
    assert Catalogue(archive).new


def test_a_catalogue_that_cannot_be_written_is_a_sentence(archive: Archive) -> None:
    """It is left as it is."""
    catalogue = Catalogue(archive)
    catalogue.record([row(1)])
    with sqlite3.connect(archive.catalogue) as connection:
        connection.execute("CREATE TRIGGER full BEFORE INSERT ON segments BEGIN SELECT raise(ABORT, 'no room'); END")
    connection.close()
    with pytest.raises(DrydockError, match="no room"):
        catalogue.record([row(2)])
    assert [found.number for found in catalogue.rows()] == [1]
