"""Marks as files: their names, what is read of them, and what is refused."""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from drydock.errors import DrydockError, RefusedError, SettingsError
from drydock.recovery.archive import marks
from drydock.recovery.archive.folders import Archive
from drydock.recovery.archive.marks import Kind, Mark
from drydock.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

MARK = Mark(
    name="friday",
    kind=Kind.NAMED,
    system_identifier="7555000111222333444",
    incarnation=2,
    part="2.3",
    timeline=4,
    lsn="1/16B3748",
    flushed="1/2000098",
    made="2026-11-21T10:00:00.123456+00:00",
    segment="000000040000000100000001",
)


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    """An archive without any mark."""
    return Archive(Settings(root=tmp_path / "Ada's disk"), MARK.system_identifier)


def test_what_is_written_is_read(archive: Archive) -> None:
    """A mark survives its file; the one that is written later under the same name replaces it; removed, it is gone."""
    marks.write(archive, MARK)
    assert marks.find(archive, "friday") == MARK
    moved = replace(MARK, lsn="2/0", made="2026-11-22T10:00:00+00:00")
    marks.write(archive, moved)
    assert marks.every(archive) == [moved]
    assert (archive.marks / "friday.json").stat().st_mode & 0o777 == 0o600
    marks.remove(archive, "friday")
    marks.remove(archive, "friday")
    assert marks.every(archive) == []


def test_marks_are_listed_oldest_first(archive: Archive) -> None:
    """By the time they were made at, not by name; of those that a kill left half there is nothing."""
    for name, day in (("a", 23), ("b", 21), ("c", 22)):
        marks.write(archive, replace(MARK, name=name, made=f"2026-11-{day}T10:00:00+00:00"))
    (archive.marks / ".d.json.x1").write_text("{")
    assert [mark.name for mark in marks.every(archive)] == ["b", "c", "a"]


@pytest.mark.parametrize("name", ["friday", "0", "v1.2_rc-3", "x" * 63, "before-noon", "auto"])
def test_names_that_are_fine(name: str) -> None:
    """Letters, digits, dots, dashes and underscores."""
    marks.check_name(name)


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".hidden", "-x", "a/b", "../a", "a b", "a\n", "ä", "x" * 64, "a'b", "auto-reset", "$x"]
)
def test_names_that_are_refused(archive: Archive, name: str) -> None:
    """What could be no file or no restore point, leads elsewhere, or is a name of the tasks' own; none is found."""
    with pytest.raises(SettingsError, match="mark"):
        marks.check_name(name)
    with pytest.raises(DrydockError, match="There is no mark"):
        marks.find(archive, name)


@pytest.mark.parametrize("name", ["friday", "Friday", "FRIDAY"])
def test_a_name_that_is_taken_is_refused(archive: Archive, name: str) -> None:
    """Also in other letters: on some file systems that is the same file. Another spelling is never replaced."""
    marks.write(archive, MARK)
    with pytest.raises(RefusedError, match="There is a mark friday already"):
        marks.refuse_taken(archive, name, replace=False)
    if name == MARK.name:
        marks.refuse_taken(archive, name, replace=True)
    else:
        with pytest.raises(RefusedError):
            marks.refuse_taken(archive, name, replace=True)
    marks.refuse_taken(archive, "saturday", replace=False)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"lsn": "1/16B3748"', '"lsn": "1/16B3749"'),
        ('"timeline": 4', '"timeline": 3'),
        ('"name": "friday"', '"name": "monday"'),
        ("}", ""),
        ('"kind"', '"kinds"'),
        ('"sha256"', '"sha"'),
    ],
)
def test_a_damaged_mark_is_never_used(archive: Archive, old: str, new: str) -> None:
    """One changed digit would restore to another moment: each file has a hash of itself."""
    marks.write(archive, MARK)
    path = archive.marks / "friday.json"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(DrydockError, match="is damaged") as caught:
        marks.find(archive, "friday")
    assert shlex.split(caught.value.hint)[-2:] == ["rm", str(path)]
    with pytest.raises(DrydockError, match="is damaged"):
        marks.every(archive)


def test_a_mark_under_another_name_is_no_mark(archive: Archive) -> None:
    """Two files that were exchanged are noticed."""
    marks.write(archive, MARK)
    (archive.marks / "friday.json").rename(archive.marks / "monday.json")
    with pytest.raises(DrydockError, match="is damaged"):
        marks.find(archive, "monday")


def test_the_default_name_is_the_time() -> None:
    """`now` is none; anything else is taken as it is."""
    found = marks.named(marks.NOW)
    marks.check_name(found)
    assert found.endswith("Z")
    assert marks.named("friday") == "friday"
