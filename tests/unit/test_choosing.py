"""Which backup is newer, and which one `latest` means, here and in a repository."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drydock.backup.catalogue import Catalogue, Entry
from drydock.backup.choosing import newest_first
from drydock.backup.manifest import Manifest
from tests.backups import NOW, make_backup

if TYPE_CHECKING:
    from random import Random

HOUR = timedelta(hours=1)
# Hours between a backup and the one before it in its origin: negative where the clock was set back.
GAPS = st.sampled_from([-9999, -3, -1, 0, 1, 2, 5, 9999])
# With numbers left out, as where others' backups were counted along; and now and then one number twice.
STEPS = st.sampled_from([0, 1, 1, 1, 2, 7])


def backup(origin: str, number: int, sequence: int, made: datetime) -> Entry:
    facts = Manifest(name="", sequence=sequence, made=made.isoformat(), checkout=origin)
    return Entry(Path(f"{origin}{number}"), facts)


@st.composite
def origins(draw: st.DrawFn, gaps: st.SearchStrategy[int] = GAPS) -> list[list[Entry]]:
    """Backups of several origins, each oldest first."""
    found = []
    for origin in "abc"[: draw(st.integers(1, 3))]:
        made, sequence, entries = datetime(2026, 1, 1, tzinfo=UTC), 0, []
        for number, (gap, step) in enumerate(draw(st.lists(st.tuples(gaps, STEPS), max_size=8))):
            made, sequence = made + gap * HOUR, sequence + step
            entries.append(backup(origin, number, sequence, made))
        found.append(entries)
    return found


def together(found: list[list[Entry]]) -> list[Entry]:
    return [entry for entries in found for entry in entries]


@given(origins(), st.randoms(use_true_random=False))
def test_the_order_is_the_same_however_they_are_found(found: list[list[Entry]], chance: Random) -> None:
    """The order in which the folders are read makes no difference, and none is lost."""
    entries = together(found)
    expected = newest_first(entries)
    assert sorted(entry.name for entry in expected) == sorted(entry.name for entry in entries)
    chance.shuffle(entries)
    assert newest_first(entries) == expected


@given(origins())
def test_within_an_origin_the_sequence_decides(found: list[list[Entry]]) -> None:
    """Whatever the clock said, and whatever is there of others."""
    ordered = newest_first(together(found))
    for entries in found:
        numbers = [entry.manifest.sequence for entry in ordered if entry in entries and entry.manifest]
        assert numbers == sorted(numbers, reverse=True)


@given(origins(st.sampled_from([0, 1, 2, 5, 9999])))
def test_between_origins_the_time_decides(found: list[list[Entry]]) -> None:
    """Where no clock was set back, the whole list is in the order of time."""
    moments = [entry.manifest.moment for entry in newest_first(together(found)) if entry.manifest]
    assert moments == sorted(moments, reverse=True)


@given(origins(), st.sets(st.sampled_from("abc")), st.integers(0, 8))
def test_two_stand_as_they_stood_whatever_comes(found: list[list[Entry]], left_out: set[str], until: int) -> None:
    """Backups of another origin, and newer ones of the same, change nothing among those that are there."""
    before = [entry for entries in found for entry in entries[:until] if entry.name[0] not in left_out]
    ordered = newest_first(together(found))
    assert newest_first(before) == [entry for entry in ordered if entry in before]


def test_what_says_no_time_is_older_than_others_backups(tmp_path: Path) -> None:
    """And what cannot be read at all comes last, in the order of its name."""
    mine, theirs = make_backup(tmp_path, checkout="mine"), make_backup(tmp_path, NOW + HOUR, checkout="theirs")
    assert mine.manifest
    silent = Entry(tmp_path / "silent", Manifest(name="", sequence=99, made="?", checkout="silent"))
    broken = [Entry(tmp_path / name, None, "damaged") for name in ("20260102T000000Z", "20260101T000000Z")]
    assert newest_first([*reversed(broken), silent, mine, theirs]) == [theirs, mine, silent, *broken]


@pytest.mark.parametrize("part", [{"schema_only": True}, {"tables_only": ["public.users"]}])
def test_the_latest_is_the_newest_whole_one(tmp_path: Path, part: dict[str, Any]) -> None:
    """A backup of the schema alone, or of single tables, is taken as `latest` only where there is no other."""
    folder = Catalogue(tmp_path)
    partial = make_backup(tmp_path, NOW, sequence=3, label="part", **part)
    assert folder.find("latest").name == partial.name
    whole = make_backup(tmp_path, NOW - 2 * HOUR, sequence=1)
    make_backup(tmp_path, NOW - 3 * HOUR, sequence=0)
    assert folder.find("latest").name == whole.name
    assert folder.find("part").name == partial.name


def test_a_colleague_s_older_backup_is_not_the_latest(tmp_path: Path) -> None:
    """Its higher number is that of another checkout."""
    folder = Catalogue(tmp_path)
    theirs = make_backup(tmp_path, NOW - HOUR, sequence=40, checkout="theirs")
    mine = make_backup(tmp_path, NOW, sequence=2, checkout="mine")
    assert [entry.name for entry in folder.entries()] == [mine.name, theirs.name]
    assert folder.find("latest").name == mine.name


def test_a_checkout_s_own_backups_come_first_where_they_are_asked_for(tmp_path: Path) -> None:
    """Before a colleague's newer one, but a part of one's own is no whole one; without any of one's own, theirs."""
    folder = Catalogue(tmp_path)
    theirs = make_backup(tmp_path, NOW + HOUR, sequence=1, checkout="theirs")
    part = make_backup(tmp_path, NOW + 2 * HOUR, sequence=2, checkout="mine", schema_only=True)
    assert folder.find("latest", own="mine").name == theirs.name
    mine = make_backup(tmp_path, NOW, sequence=1, checkout="mine")
    assert folder.find("latest", own="mine").name == mine.name
    assert folder.find("latest").name == folder.find("latest", own="others").name == theirs.name
    assert part.path.exists()
