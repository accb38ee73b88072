"""Maps of which file is which table, as they are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from drydock.recovery.archive.folders import Archive
from drydock.recovery.history import relations
from drydock.recovery.history.relations import Map, Relation
from drydock.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    """An archive with nothing in it."""
    return Archive(Settings(root=tmp_path), "7555000111222333444")


def a_map(end: int, timeline: int = 1, oid: int = 5) -> Map:
    """A map of one table."""
    return Map(
        taken="2026-11-21T10:00:00+00:00",
        timeline=timeline,
        begin=end,
        end=end,
        running=(731,),
        oid=oid,
        name="app",
        files={16392: Relation(16390, "public", "messages", "r")},
        watched=True,
    )


def test_maps_are_read_as_they_were_written(archive: Archive) -> None:
    """In the order of their positions."""
    for end in (2000, 1000):
        relations.write(archive, a_map(end))
    assert relations.kept(archive) == [a_map(1000), a_map(2000)]


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "null", '{"files": 1}', '{"files": {}, "running": []}', '{"files": {"x": {}}}']
)
def test_a_damaged_map_is_left_out(archive: Archive, content: str) -> None:
    """It only names tables: neither the history nor a restore fails for it."""
    for end in (1000, 2000):
        relations.write(archive, a_map(end))
    min((archive.folder / relations.FOLDER).iterdir()).write_text(content)
    assert relations.kept(archive) == [a_map(2000)]


def test_maps_that_nobody_needs_any_more_are_removed(archive: Archive) -> None:
    """Of those up to the position the newest stays, of each timeline and each database, and all behind it."""
    for end in (1000, 2000, 3000, 4000, 5000):
        relations.write(archive, a_map(end))
    staying = [a_map(1500, oid=6), a_map(3000), a_map(4000), a_map(5000), a_map(2500, timeline=2)]
    for one in (*staying, a_map(1200, oid=6), a_map(2400, timeline=2)):
        relations.write(archive, one)
    assert relations.prune(archive, 3000) == 4
    assert relations.kept(archive) == staying
    assert relations.prune(archive, 3000) == 0
