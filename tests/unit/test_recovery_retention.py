"""What stays of base backups and WAL: properties of every plan, and the cases a reader would ask for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from drydock.recovery.archive.folders import Part
from drydock.recovery.upkeep.retention import Candidate, Piece, Policy, Pruning, Stretch, plan_prune, stretches

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass
class World:
    """An archive."""

    parts: list[Stretch]
    bases: list[Candidate]
    pieces: list[Piece]
    writing: str
    now: datetime


NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
WEEK = timedelta(hours=168)
ANY_SIZE = 1 << 60
TIMES = st.integers(min_value=-400, max_value=50).map(lambda hours: NOW + timedelta(hours=hours))


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Parts that go on from one another or from nothing, with base backups anywhere in them, and clocks that jump."""
    parts: list[Stretch] = []
    bases: list[Candidate] = []
    pieces: list[Piece] = []
    for number in range(1, draw(st.integers(1, 4)) + 1):
        parent = draw(st.sampled_from(["", *(part.name for part in parts)])) if parts else ""
        begin = draw(st.integers(1, 12))
        end = begin + draw(st.integers(0, 12))
        part = Stretch(name=str(number), number=begin, parent=parent)
        parts.append(part)
        pieces += [Piece(part=part.name, file=f"{n}", number=n, size=1) for n in range(begin, end + 1)]
        for place in sorted(draw(st.sets(st.integers(begin, end), max_size=4))):
            name = f"{number}-{place}"
            made = Candidate(
                name=name, part=part.name, number=place, stopped=draw(TIMES), size=5, good=draw(st.booleans())
            )
            bases.append(made)
    writing = draw(st.sampled_from([part.name for part in parts]))
    return World(parts=parts, bases=bases, pieces=pieces, writing=writing, now=draw(TIMES))


def plan(world: World, *, window: timedelta = WEEK, disk: int = ANY_SIZE, now: datetime | None = None) -> Pruning:
    policy = Policy(window=window, disk=disk)
    return plan_prune(
        world.parts, world.bases, world.pieces, policy=policy, now=now or world.now, writing=world.writing
    )


def staying(world: World, made: Pruning) -> list[Candidate]:
    return [one for one in world.bases if one.name not in made.bases]


def kept(world: World, made: Pruning) -> list[Piece]:
    return [piece for piece in world.pieces if piece not in made.segments]


def reaches(world: World, bases: Sequence[Candidate], part: str, number: int) -> bool:
    """Whether one of the base backups comes before a segment of a part, on its own line of descent."""
    known = {one.name: one for one in world.parts}
    here, limit = known.get(part), number
    while here:
        if any(one.part == here.name and one.number <= limit for one in bases):
            return True
        limit, here = here.number, known.get(here.parent)
    return False


DISKS = st.sampled_from([0, 5, 20, ANY_SIZE])
WINDOWS = st.sampled_from([timedelta(0), timedelta(hours=24), WEEK])


@given(worlds(), WINDOWS, DISKS)
def test_no_wal_stays_without_a_base_backup_before_it(world: World, window: timedelta, disk: int) -> None:
    """But that of the part being written, and of later ones, where nothing reaches it yet.

    Where no good one is there, all stays.
    """
    made = plan(world, window=window, disk=disk)
    if not any(one.good for one in world.bases):
        assert (made.bases, made.segments) == ([], [])
        return
    left = staying(world, made)
    for piece in kept(world, made):
        assert reaches(world, left, piece.part, piece.number) or int(piece.part) >= int(world.writing)


@given(worlds(), WINDOWS, DISKS)
def test_no_base_backup_stays_without_its_wal(world: World, window: timedelta, disk: int) -> None:
    """What can be reached from one that stays is there as it was."""
    made = plan(world, window=window, disk=disk)
    left, gone = staying(world, made), made.segments
    assert not [piece for piece in gone if reaches(world, left, piece.part, piece.number)]


@given(worlds(), WINDOWS, DISKS)
def test_the_last_good_chain_never_goes(world: World, window: timedelta, disk: int) -> None:
    """Neither the newest good base backup that reaches what is being written, nor the newest of all, nor its WAL."""
    made = plan(world, window=window, disk=disk)
    good = sorted((one for one in world.bases if one.good), key=lambda one: one.order)
    if not good:
        return
    left = staying(world, made)
    assert good[-1] in left
    newest = max((piece.number for piece in world.pieces if piece.part == world.writing), default=0)
    if reaches(world, good, world.writing, newest):
        assert reaches(world, [one for one in left if one.good], world.writing, newest)


@given(worlds(), WINDOWS, DISKS)
def test_only_the_oldest_go_and_a_second_run_finds_nothing(world: World, window: timedelta, disk: int) -> None:
    """By the archive's order, and in one go."""
    made = plan(world, window=window, disk=disk)
    left = staying(world, made)
    gone = [one for one in world.bases if one.name in made.bases]
    assert all(old.order < new.order for old in gone for new in left)
    assert made.kept == 5 * len(left) + len(kept(world, made))
    world.bases, world.pieces = left, kept(world, made)
    again = plan(world, window=window, disk=disk)
    # Which one is the newest decides what a clock that ran ahead counts for; it never goes.
    assert (again.bases, again.segments) == ([], [])


@given(worlds())
def test_every_moment_of_the_window_stays(world: World) -> None:
    """With room enough, a moment that could be gone back to before still can be."""
    made = plan(world)
    left = [one for one in staying(world, made) if one.good]
    begin = world.now - WEEK
    for one in world.bases:
        if one.good and one.stopped > begin and one.stopped <= world.now:
            assert one in left or any(other.order > one.order and other.stopped <= begin for other in left)


@given(worlds(), st.integers(0, 1000))
def test_a_clock_that_was_set_back_removes_nothing_more(world: World, hours: int) -> None:
    """What an earlier now lets go, the later one lets go as well, but for WAL that no base backup ever reached."""
    later, earlier = plan(world), plan(world, now=world.now - timedelta(hours=hours))
    assert set(earlier.bases) <= set(later.bases)
    more = set(earlier.segments) - set(later.segments)
    assert not [piece for piece in more if reaches(world, world.bases, piece.part, piece.number)]


@given(worlds())
def test_a_budget_that_is_exceeded_has_nothing_left_to_give(world: World) -> None:
    """More than the budget stays only where the anchor is the newest good one already."""
    tight, endless = plan(world, disk=10), plan(world)
    if tight.kept > 10:
        assert tight == plan(world, disk=0)
    if endless.kept <= 10:
        assert tight == endless


def base(part: str, number: int, days: float, *, good: bool = True) -> Candidate:
    stopped = NOW - timedelta(days=days)
    return Candidate(name=f"{part}@{number}", part=part, number=number, stopped=stopped, size=100, good=good)


def segments(part: str, begin: int, end: int) -> list[Piece]:
    return [Piece(part=part, file=str(number), number=number, size=10) for number in range(begin, end)]


def world(parts: list[Stretch], bases: list[Candidate], pieces: list[Piece], writing: str) -> World:
    return World(parts=parts, bases=bases, pieces=pieces, writing=writing, now=NOW)


ONE = Stretch(name="1", number=1)


def test_the_window_keeps_one_base_backup_that_is_older() -> None:
    """Of 20, 9, 8 and 1 days: everything from the one of 8 days on."""
    bases = [base("1", 2, 20), base("1", 20, 9), base("1", 30, 8), base("1", 40, 1)]
    made = plan(world([ONE], bases, segments("1", 1, 50), "1"))
    assert made.bases == ["1@2", "1@20"]
    assert [piece.number for piece in made.segments] == list(range(1, 30))


def test_an_unproven_one_is_no_anchor() -> None:
    """What may not be restorable does not take the place of what is."""
    bases = [base("1", 2, 20), base("1", 20, 9, good=False), base("1", 40, 1)]
    made = plan(world([ONE], bases, segments("1", 1, 50), "1"))
    assert made.bases == []
    assert [piece.number for piece in made.segments] == [1]


def test_the_disk_budget_moves_the_anchor_within_the_window() -> None:
    """Oldest first, and never the last good one."""
    bases = [base("1", 2, 3), base("1", 20, 2), base("1", 40, 1)]
    wanted = world([ONE], bases, segments("1", 1, 50), "1")
    assert plan(wanted, disk=600).bases == ["1@2"]
    assert plan(wanted, disk=1).bases == ["1@2", "1@20"]


def test_a_life_that_was_restored_hangs_on_the_one_before_until_it_has_a_base_backup() -> None:
    """The WAL of both stays; once the new one's base backup is older than the window, the old life goes."""
    parts = [ONE, Stretch(name="2", number=10, parent="1")]
    pieces = [*segments("1", 1, 15), *segments("2", 10, 30)]
    made = plan(world(parts, [base("1", 3, 20)], pieces, "2"))
    assert (made.bases, [piece.number for piece in made.segments]) == ([], [1, 2])
    made = plan(world(parts, [base("1", 3, 20), base("2", 12, 9), base("2", 20, 1)], pieces, "2"))
    assert made.bases == ["1@3"]
    assert {piece.part for piece in made.segments} == {"1", "2"}
    assert [piece.number for piece in made.segments if piece.part == "2"] == [10, 11]


def test_after_an_undo_the_life_that_goes_on_keeps_its_base_backup() -> None:
    """Part 1 is written again, though part 2 has a newer base backup that is older than the window."""
    parts = [ONE, Stretch(name="2", number=10, parent="1")]
    pieces = [*segments("1", 1, 40), *segments("2", 10, 30)]
    made = plan(world(parts, [base("1", 3, 20), base("2", 12, 9)], pieces, "1"), disk=1)
    assert made.bases == []


def test_after_a_hole_the_chain_before_stays_until_the_new_one_is_proven() -> None:
    """Whatever the budget says."""
    parts = [ONE, Stretch(name="1.2", number=60)]
    pieces = [*segments("1", 1, 50), *segments("1.2", 60, 70)]
    made = plan(world(parts, [base("1", 3, 20), base("1.2", 61, 1, good=False)], pieces, "1.2"), disk=1)
    assert made.bases == []
    made = plan(world(parts, [base("1", 3, 20), base("1.2", 61, 1)], pieces, "1.2"), disk=1)
    assert made.bases == ["1@3"]


def test_a_part_that_was_begun_meanwhile_stays() -> None:
    """Whoever looked before does not remove what the archiver writes by now, which no base backup reaches yet."""
    parts = [ONE, Stretch(name="1.2", number=60)]
    pieces = [*segments("1", 1, 50), *segments("1.2", 60, 70)]
    made = plan(world(parts, [base("1", 3, 1)], pieces, "1"))
    assert [piece for piece in made.segments if piece.part == "1.2"] == []


def part(name: str, start: str, *, parent: int = 0, hole: bool = False) -> Part:
    return Part(
        system_identifier="1",
        name=name,
        incarnation=int(name.partition(".")[0]),
        timeline=1,
        start=start,
        begun="2026-11-21T10:00:00+00:00",
        reason="",
        parent=parent,
        hole=hole,
    )


def test_parts_go_on_from_one_another() -> None:
    """Within an incarnation unless there is a hole; a restored one from the part that held the target."""
    found = stretches(
        [
            part("1", "0/1000000"),
            part("1.2", "0/5000000"),
            part("1.3", "0/9000000", hole=True),
            part("2", "0/7000000", parent=1),
            part("3", "0/9800000", parent=1),
        ]
    )
    assert [(one.name, one.number, one.parent) for one in found] == [
        ("1", 1, ""),
        ("1.2", 5, "1"),
        ("1.3", 9, ""),
        ("2", 7, "1.2"),
        ("3", 9, "1.3"),
    ]
