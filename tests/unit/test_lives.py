"""Which part of the archive was lived in when."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from drydock.errors import DrydockError
from drydock.recovery.archive import lives
from drydock.recovery.archive.folders import Archive, Part
from drydock.recovery.archive.lives import Life

if TYPE_CHECKING:
    from pathlib import Path

    from drydock.settings import Settings

NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    """One with two parts."""
    made = Archive(cast("Settings", SimpleNamespace(backups=tmp_path)), "7573812345678901234")
    for number in (1, 2):
        begun = (NOON + number * HOUR).isoformat()
        part = Part(
            system_identifier=made.system_identifier, name=str(number), incarnation=number, timeline=1,
            start="0/1000000", begun=begun, reason="first start",
        )  # fmt: skip
        made.begin(part)
    return made


def test_lives_are_noted_once_and_in_order(archive: Archive) -> None:
    """A restore and its undo are three lives in two parts, however often each is told."""
    for part, hours in (("2", 2), ("2", 3), ("1", 4)):
        lives.record(archive, part, NOON + hours * HOUR)
    assert lives.lives(archive) == [Life("1", NOON + HOUR), Life("2", NOON + 2 * HOUR), Life("1", NOON + 4 * HOUR)]


def test_notes_that_were_removed_are_made_again_from_the_parts(archive: Archive) -> None:
    """As the refusal of damaged ones advises: moments of earlier parts stay within reach of `restore --at`."""
    path = archive.folder / lives.FILE
    path.write_text("[")
    with pytest.raises(DrydockError) as caught:
        lives.record(archive, "1", NOON + 3 * HOUR)
    assert caught.value.hint.startswith(f"rm {path}; invoke down; invoke up")
    path.unlink()
    lives.record(archive, "1", NOON + 3 * HOUR)
    assert [(life.part, life.since - NOON) for life in lives.lives(archive)] == [
        ("1", HOUR),
        ("2", 2 * HOUR),
        ("1", 3 * HOUR),
    ]


def test_without_notes_a_part_is_lived_in_from_its_beginning(archive: Archive) -> None:
    """Archives that were begun before there were notes, or whose notes are lost."""
    assert lives.lives(archive) == [Life("1", NOON + HOUR), Life("2", NOON + 2 * HOUR)]


def test_the_life_at_a_moment() -> None:
    """The last that had begun by then, in the order of living, also where the clock was set back."""
    known = [Life("1", NOON), Life("2", NOON + 2 * HOUR), Life("1", NOON + HOUR)]
    found = [lives.index_at(known, NOON + hours * HOUR) for hours in (-1, 0, 0.5, 1, 3)]
    assert found == [None, 0, 0, 2, 2]


@pytest.mark.parametrize("text", ["", "{}x", "[1]", '[{"part": "1"}]', '[{"part": "1", "since": "yesterday"}]'])
def test_damaged_notes_are_refused(archive: Archive, text: str) -> None:
    """A time is never looked for in a guess."""
    (archive.folder / lives.FILE).write_text(text)
    with pytest.raises(DrydockError, match=r"lives\.json is damaged"):
        lives.lives(archive)
