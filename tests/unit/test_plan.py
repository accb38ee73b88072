"""Plans of restores: right, or refused; held against a model of clusters that knows what really happened."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drydock.errors import RefusedError
from drydock.recovery.archive.folders import Form
from drydock.recovery.plans import plan, windows
from drydock.recovery.plans.moments import Clock
from drydock.recovery.plans.situation import Ahead
from drydock.recovery.plans.targets import AtLsn, AtMark, AtTime, AtXid, Latest, Target
from drydock.recovery.wal.positions import SEGMENT_SIZE, Segment, format_lsn, parse_lsn
from tests.recovery_world import EPOCH, STEP, Drop, Record, World

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

SECOND = timedelta(seconds=1)
QUIET = ("commit", "commit", "abort", "idle", "base", "mark")
LIVES = ("restore", "undo")
FAULTS = ("stop", "start", "lose", "delete")
CHANCE = st.floats(0, 1, exclude_max=True)


def worlds(*more: str, size: int = 40) -> st.SearchStrategy[World]:
    """Worlds in which anything of this happened, after a first base backup."""
    steps = st.lists(st.tuples(st.sampled_from([*QUIET, *more]), CHANCE), min_size=1, max_size=size)
    return steps.map(_lived)


def _lived(steps: list[tuple[str, float]]) -> World:
    world = World()
    world.back_up()
    for name, chance in steps:
        _happen(world, name, chance)
    return world


def _happen(world: World, name: str, chance: float) -> None:
    records = [r for known in world.records.values() for r in known if r.lsn >= world.bases[0].stop]
    actions: dict[str, Callable[[], object]] = {
        "commit": world.write,
        "abort": lambda: world.write(committed=False),
        "idle": lambda: world.idle(100 * chance),
        "base": world.back_up,
        "mark": world.mark,
        "restore": lambda: world.restore(records[int(chance * len(records))]),
        "undo": lambda: world.go_to(1 + int(chance * len(world.clusters))),
        "stop": world.stop_archiver,
        "start": world.start_archiver,
        "lose": world.lose_slot,
        "delete": lambda: world.delete(chance),
    }
    actions[name]()


def moment_in(world: World, chance: float) -> datetime:
    """Any moment of its life."""
    return EPOCH + (world.now - EPOCH) * chance


def record_in(world: World, chance: float) -> Record:
    """Any record of it, archived or not."""
    records = [r for known in world.records.values() for r in known]
    return records[int(chance * len(records))]


def planned(world: World, target: Target) -> plan.Plan | None:
    """The plan, or None where it is refused with a sentence."""
    try:
        return plan.make(target, world.situation())
    except RefusedError:
        return None


@given(worlds(*LIVES, *FAULTS), CHANCE)
@settings(max_examples=80, deadline=None)
def test_a_time_is_what_somebody_saw_then_or_refused(world: World, chance: float) -> None:
    """Across restores, undo, holes and lost servers: never another moment's rows (traps 1 to 5)."""
    moment = moment_in(world, chance)
    found = planned(world, AtTime(moment))
    assert found is None or world.carry_out(found) == world.rows_at(moment)


@given(worlds(*LIVES, *FAULTS), CHANCE, st.booleans(), st.booleans())
@settings(max_examples=80, deadline=None)
def test_a_transaction_is_that_one_or_refused(world: World, chance: float, named: bool, inclusive: bool) -> None:  # noqa: FBT001
    """Before a transaction, or after it, and never another one of its number (trap 3)."""
    record = record_in(world, chance)
    found = planned(world, AtXid(record.xid, record.timeline if named else None, inclusive))
    if found is None:
        return
    same = [r for known in world.records.values() for r in known if r.xid == record.xid and r.lsn == found.stop.lsn]
    (stop,) = [r for r in same if r.timeline == found.stop.timeline]
    assert stop.committed
    assert not named or world.descent(record.timeline).holds(stop.timeline, stop.end)
    expected = world.rows(stop.timeline, stop.lsn) | ({stop.serial} if inclusive else set())
    assert world.carry_out(found) == expected


@given(worlds(*LIVES, *FAULTS), CHANCE, st.integers(-1, 1), st.booleans())
@settings(max_examples=80, deadline=None)
def test_a_position_is_that_one_or_refused(world: World, chance: float, off: int, named: bool) -> None:  # noqa: FBT001
    """Everything that begins before a position, on the timeline that was named or the only one it can be on."""
    record = record_in(world, chance)
    found = planned(world, AtLsn(record.lsn + off, record.timeline if named else None))
    if found is not None:
        timeline = record.timeline if named else found.stop.timeline
        assert world.carry_out(found) == world.rows(timeline, record.lsn + off)


@given(worlds(*LIVES, *FAULTS), CHANCE)
@settings(max_examples=60, deadline=None)
def test_a_mark_is_what_there_was_when_it_was_made(world: World, chance: float) -> None:
    """On its own timeline, whatever is lived now."""
    if world.marks:
        mark = world.marks[int(chance * len(world.marks))]
        found = planned(world, AtMark(mark.name))
        assert found is None or world.carry_out(found) == world.rows(mark.timeline, parse_lsn(mark.lsn))


@given(worlds(*LIVES, *FAULTS))
@settings(max_examples=60, deadline=None)
def test_the_latest_is_all_that_was_received(world: World) -> None:
    """With an archiver that keeps up it is what there is now (trap 4)."""
    found = planned(world, Latest())
    if found is not None:
        here = world.cluster
        rows = world.carry_out(found)
        assert found.stop.timeline in {s.timeline for s in world.descent(here.timeline).stretches}
        assert rows == world.rows_at(world.now) if here.receiving else rows <= world.rows_at(world.now)


@given(worlds(*LIVES), CHANCE)
@settings(max_examples=60, deadline=None)
def test_what_can_be_proven_is_not_refused(world: World, chance: float) -> None:
    """With every segment there and the archiver running, any moment since the first base backup has a plan."""
    first = world.bases[0].stopped
    moment = first + (world.now - first) * chance
    assert world.carry_out(plan.make(AtTime(moment), world.situation())) == world.rows_at(moment)
    assert plan.make(Latest(), world.situation())


@given(worlds(*LIVES, "stop", "start", "lose"), CHANCE)
@settings(max_examples=60, deadline=None)
def test_windows_hold_what_they_say(world: World, chance: float) -> None:
    """Every position in a restorable window that WAL was written at has a plan."""
    for window in windows.windows(world.situation()):
        inside = [r for r in world.records[window.timeline] if window.start <= r.lsn and r.end <= window.end]
        if inside:
            record = inside[int(chance * len(inside))]
            found = plan.make(AtLsn(record.lsn, record.timeline), world.situation())
            assert world.carry_out(found) == world.rows(record.timeline, record.lsn)


def busy() -> World:
    """A base backup and 20 commits of half a second and 3 MiB each."""
    world = World()
    world.back_up()
    for _ in range(20):
        world.write()
    return world


def test_trap_1_a_target_before_the_end_of_the_base_is_refused() -> None:
    """The server would go on to a later commit in silence; the sentence names the restorable window."""
    world = busy()
    second = world.back_up()
    with pytest.raises(RefusedError, match=r"No base backup ends before .* What can be restored: 2026-11-21 10:00:00"):
        plan.make(AtTime(EPOCH + SECOND / 4), world.situation())
    found = plan.make(AtTime(second.stopped - SECOND / 4), world.situation())
    assert found.base.name == "base0"


def test_trap_2_a_second_restore_follows_the_timeline_of_its_time() -> None:
    """After one restore, a time from before it is on the first timeline, one after it on the second."""
    world = busy()
    early, late = world.records[1][5], world.records[1][15]
    world.restore(early)
    world.write()
    assert plan.make(AtTime(late.moment), world.situation()).stop.timeline == 1
    assert world.carry_out(plan.make(AtTime(late.moment), world.situation())) == world.rows_at(late.moment)
    world.write()
    now = world.records[2][-2].moment
    assert plan.make(AtTime(now), world.situation()).stop.timeline == 2


def test_trap_3_a_number_on_two_timelines_asks() -> None:
    """Both are named with what would choose them, and either form chooses."""
    world = busy()
    world.restore(world.records[1][5])
    again = world.write()
    with pytest.raises(RefusedError, match=f"more than once: 1:{again.xid} .committed at") as caught:
        plan.make(AtXid(again.xid), world.situation())
    assert caught.value.hint == f"Say which: --before-xid 1:{again.xid} or --before-xid 2:{again.xid}"
    assert plan.make(AtXid(again.xid, 2), world.situation()).stop.timeline == 2
    assert plan.make(AtXid(again.xid, 1), world.situation()).stop.timeline == 1


@pytest.mark.parametrize("number", range(2, 5))
def test_trap_4_a_missing_segment_is_named(number: int) -> None:
    """Each segment in turn: what needs it is refused, by name; what does not is planned."""
    world = busy()
    last = [world.write() for _ in range(3)][-1]
    world.deleted.add(("1", Segment(1, number)))
    there = [r for r in world.records[1] if r.xid and r.end <= number * SEGMENT_SIZE]
    with pytest.raises(RefusedError, match=f"segment {Segment(1, number).name} .* is missing"):
        plan.make(AtXid(last.xid), world.situation())
    for record in there:
        assert plan.make(AtXid(record.xid), world.situation())


def test_trap_4_a_rotten_page_is_refused() -> None:
    """All segments are there, and one cannot be read: the server would stop at it and call that the end."""
    world = busy()
    world.damaged.add(world.records[1][6].serial)
    with pytest.raises(RefusedError, match=r"cannot be read without a gap: something in it is damaged\. What can"):
        plan.make(Latest(), world.situation())
    assert plan.make(AtXid(world.records[1][5].xid), world.situation())


def test_trap_4_the_end_is_not_where_reading_stops() -> None:
    """Where WAL cannot be read up to its last segment, nothing is taken for the latest."""
    world = busy()
    situation = world.situation()
    early = [r for r in world.records[1] if r.lsn < 3 * SEGMENT_SIZE]
    world.records[1] = early
    with pytest.raises(RefusedError, match=r"can be read up to .* only"):
        plan.make(Latest(), situation)


def test_a_tablespace_made_on_the_way_is_refused() -> None:
    """The server beside would write to the running one's folder; right before it, and after a later base, it goes."""
    world = busy()
    made = world.make_tablespace("/srv/fast")
    later = world.write()
    with pytest.raises(RefusedError, match=f"At {format_lsn(made.lsn)} .* makes a tablespace in /srv/fast") as caught:
        plan.make(AtXid(later.xid), world.situation())
    assert caught.value.hint.startswith(f"invoke restore --lsn 1:{format_lsn(made.lsn)} goes back")
    found = plan.make(AtLsn(made.lsn, 1), world.situation())
    assert world.carry_out(found) == world.rows(1, made.lsn)
    with pytest.raises(RefusedError, match="makes a tablespace"):
        plan.make(AtXid(made.xid, inclusive=True), world.situation())
    world.back_up()
    assert plan.make(AtXid(world.write().xid), world.situation())


def test_a_tablespace_made_while_a_base_backup_was_taken_is_refused() -> None:
    """It is replayed from the beginning of the base backup on, not from its end."""
    world = busy()
    made = world.make_tablespace("/srv/fast")
    backup = world.back_up()
    world.bases[-1] = replace(backup, start=made.lsn)
    with pytest.raises(RefusedError, match="makes a tablespace"):
        plan.make(AtXid(world.write().xid), world.situation())


def test_a_stop_within_a_drop_is_moved_to_before_it() -> None:
    """Replayed halfway it would be lost: the same transactions end earlier. With others meanwhile a tablespace asks."""
    world = busy()
    begun, ended = world.write(transaction=False), world.write()
    world.drops.append(Drop(1, begun.lsn, ended.xid, ended.lsn))
    found = plan.make(AtXid(ended.xid), world.situation())
    assert (found.stop.lsn, found.stop.inclusive, found.end) == (begun.lsn, False, begun.end)
    assert plan.make(AtXid(ended.xid, inclusive=True), world.situation()).stop.lsn == ended.lsn
    world.drops[:] = [Drop(1, begun.lsn, world.cluster.xid + 2, world.cluster.lsn + STEP)]
    last = world.write()
    assert plan.make(AtXid(last.xid, inclusive=True), world.situation()).stop.lsn == last.lsn
    world.drops[:] = [replace(world.drops[0], what="tablespace")]
    with pytest.raises(RefusedError, match="was dropping a tablespace at that moment") as caught:
        plan.make(AtXid(last.xid, inclusive=True), world.situation())
    assert caught.value.hint == f"invoke restore --lsn 1:{format_lsn(begun.lsn)} goes back to right before it began."


def test_a_drop_that_a_crash_ended_keeps_nobody_from_what_came_later() -> None:
    """No record says how it ended: the last moment before it is moved to before it, and none behind a base backup."""
    world = busy()
    begun = world.write(transaction=False)
    world.drops.append(Drop(1, begun.lsn, 9999))
    last = world.write(transaction=False)
    assert plan.make(Latest(), world.situation()).stop.lsn == begun.lsn
    backup = world.back_up()
    assert plan.make(Latest(), world.situation()).stop.lsn == backup.stop
    assert plan.make(AtXid(world.write().xid, inclusive=True), world.situation()).stop.lsn > last.lsn


def test_trap_5_an_idle_database_is_restored_to_now() -> None:
    """With no later commit to stop at, it is all there is, once the archiver is known to have all of it."""
    world = busy()
    world.idle(100)
    found = plan.make(AtTime(world.now), world.situation())
    assert found.stop.inclusive
    assert world.carry_out(found) == world.rows_at(world.now)


def test_a_time_after_the_last_wal_is_refused() -> None:
    """Without a server to ask, nobody knows what was committed then; the newest provable moment is named."""
    world = busy()
    last = world.records[1][-1].moment
    world.stop_archiver()
    world.idle(100)
    with pytest.raises(RefusedError, match="newest moment that can be proven is 2026-11-21 10:00:11"):
        plan.make(AtTime(last + SECOND), world.situation())
    assert world.carry_out(plan.make(AtTime(last), world.situation())) == world.rows_at(last)


def test_a_time_in_a_hole_is_refused_though_a_later_base_has_no_later_commit() -> None:
    """The base after the hole holds what was committed later than the time asked for."""
    world = busy()
    moment = world.now
    world.stop_archiver()
    for _ in range(20):
        world.write()
    world.lose_slot()
    world.back_up()
    world.idle(10)
    world.write()
    with pytest.raises(RefusedError, match=r"segment .* is there only in part, as 1/.*What can be restored"):
        plan.make(AtTime(moment + SECOND), world.situation())


def test_a_position_in_a_hole_is_refused_though_a_later_base_leads_to_the_next_record() -> None:
    """What lies between the position and that record was never received, and the base after the position has it."""
    world = busy()
    world.stop_archiver()
    lost = world.write()
    while (world.cluster.lsn + STEP) // SEGMENT_SIZE == world.cluster.lsn // SEGMENT_SIZE:
        world.write()
    world.back_up()
    world.lose_slot()
    world.write()
    with pytest.raises(RefusedError, match=r"is there only in part, as 1/"):
        plan.make(AtLsn(lost.lsn, 1), world.situation())


def test_a_base_whose_wal_was_not_received_proves_no_moment() -> None:
    """It ended later than the time asked for, and what was committed before it is not in the archive."""
    world = busy()
    world.stop_archiver()
    lost = world.write()
    world.back_up()
    with pytest.raises(RefusedError, match="newest moment that can be proven is 2026-11-21 10:00:11"):
        plan.make(AtTime(lost.moment), world.situation())


def test_trap_17_the_partial_segment_is_part_of_the_chain() -> None:
    """The newest minutes are in a file that is still being received."""
    world = busy()
    found = plan.make(Latest(), world.situation())
    assert found.segments[-1].form is Form.PARTIAL
    assert world.carry_out(found) == world.rows_at(world.now)


def test_a_clock_that_was_set_back_asks() -> None:
    """A time that passed twice is two positions, and both are named."""
    world = busy()
    world.idle(-9)
    for _ in range(20):
        world.write()
    with pytest.raises(RefusedError, match="passed twice: the server's clock was set back") as caught:
        plan.make(AtTime(world.records[1][5].moment), world.situation())
    assert caught.value.hint.count("--lsn 1:0/") == 2


def test_commits_a_little_out_of_order_do_not_ask() -> None:
    """Neighbours take their times before they write: the stop is before the first later one, as the server's is."""
    world = busy()
    world.idle(-1)
    world.write()
    for _ in range(10):
        world.write()
    moment = world.records[1][20].moment
    assert plan.make(AtTime(moment - SECOND / 4), world.situation())


def test_a_transaction_that_was_rolled_back_cannot_be_taken_back() -> None:
    """It says so, instead of stopping at some other record."""
    world = busy()
    aborted = world.write(committed=False)
    with pytest.raises(RefusedError, match="was rolled back"):
        plan.make(AtXid(aborted.xid), world.situation())
    with pytest.raises(RefusedError, match="No transaction 99999 ends on timeline 1 in"):
        plan.make(AtXid(99999, 1), world.situation())


def test_a_position_on_two_timelines_asks() -> None:
    """Their data differ there."""
    world = busy()
    world.restore(world.records[1][5])
    for _ in range(5):
        world.write()
    lsn = world.records[1][8].lsn
    with pytest.raises(RefusedError, match="is on several timelines") as caught:
        plan.make(AtLsn(lsn), world.situation())
    assert caught.value.hint == f"Say which: --lsn 1:{format_lsn(lsn)} or --lsn 2:{format_lsn(lsn)}"
    assert plan.make(AtLsn(world.records[1][3].lsn), world.situation())


def test_an_unknown_mark_names_those_there_are() -> None:
    """A mark that is not there, and a name that was given twice."""
    world = busy()
    world.mark()
    with pytest.raises(RefusedError, match="no mark 'tuesday'") as caught:
        plan.make(AtMark("tuesday"), world.situation())
    assert "mark0" in caught.value.hint
    world.marks.append(replace(world.marks[0]))
    with pytest.raises(RefusedError, match="2 marks are called 'mark0'"):
        plan.make(AtMark("mark0"), world.situation())


def test_a_timeline_whose_history_is_missing_is_refused() -> None:
    """Nobody can tell which WAL leads to it."""
    world = busy()
    world.restore(world.records[1][5])
    world.histories[2], kept = "", world.histories[2]
    situation = world.situation()
    world.histories[2] = kept
    with pytest.raises(RefusedError, match=r"00000002\.history is missing"):
        plan.make(Latest(), situation)


@pytest.mark.parametrize("target", [AtXid(705, 9), AtLsn(SEGMENT_SIZE, 9), Latest(9)])
def test_a_timeline_that_never_was_is_told_with_those_that_are(target: Target) -> None:
    """Nothing of it is in the archive: that is another thing than a history that is missing."""
    world = busy()
    world.restore(world.records[1][5])
    world.write()
    with pytest.raises(RefusedError, match=r"There is no timeline 9 in the archive: there are 1, 2\.") as caught:
        plan.make(target, world.situation())
    assert caught.value.hint == "invoke history shows them."


def test_an_incarnation_of_which_nothing_arrived_is_not_taken_for_the_one_before() -> None:
    """What was lived after a restore is not on the timeline that the restore began on."""
    world = busy()
    world.restore(world.records[1][5])
    del world.received["2"][2]
    world.stop_archiver()
    with pytest.raises(RefusedError, match="None of the WAL that was written in part 2"):
        plan.make(AtTime(world.now), world.situation())


def test_a_server_that_took_over_asks_whose_data() -> None:
    """Where the one before still committed after the next one began, a time has two answers."""
    world = busy()
    world.restore(world.records[1][5])
    since = world.lives[-1].since
    world.incarnation = 1
    world.write()
    world.incarnation = 2
    with pytest.raises(RefusedError, match="one server was taking over") as caught:
        plan.make(AtTime(since), world.situation())
    assert caught.value.hint == "Say whose data: --timeline 1 or --timeline 2"
    assert plan.make(AtTime(since, 1), world.situation()).stop.timeline == 1


def test_a_plan_says_what_it_undoes_and_what_returns() -> None:
    """Going back to a line that was left takes back all since they parted, and brings back what came after."""
    world = busy()
    parted = world.records[1][6]
    world.restore(parted)
    for _ in range(3):
        world.write()
    found = plan.make(AtXid(world.records[1][10].xid, 1), world.situation())
    assert found.undone is not None
    assert found.undone.transactions == 3
    assert found.returning is not None
    assert found.returning.transactions == 4
    lines = list(found.lines(Clock(world.now, UTC)))
    assert any("will be undone: 3 transactions" in line for line in lines)
    assert any("will come back: 4 transactions" in line for line in lines)
    assert found.document()["timeline"] == 1
    assert 2 < found.seconds < 10


def test_what_is_undone_is_not_known_where_the_server_is_ahead() -> None:
    """The last archived record is not the present then; what comes back is known on the timeline that is lived."""
    world = busy()
    world.restore(world.records[1][6])
    world.write()
    target, ahead = AtXid(world.records[1][10].xid, 1), Ahead(2, "invoke up")
    found = plan.make(target, replace(world.situation(), ahead=ahead))
    assert found.undone is None
    assert found.returning is not None
    assert found.returning.transactions == 4
    line = next(line for line in found.lines(Clock(world.now, UTC)) if "undone" in line)
    assert line == f"  what will be undone is not known: {plan.NEWEST}; invoke up first has the archive receive it"
    elsewhere = plan.make(target, replace(world.situation(), ahead=Ahead(3)))
    assert (elsewhere.undone, elsewhere.returning) == (None, None)
    assert f"  what will be undone is not known: {plan.NEWEST}" in list(elsewhere.lines(Clock(world.now, UTC)))


def test_what_is_undone_is_not_counted_around_damage() -> None:
    """What is behind the stop may be damaged without keeping anybody from going back; who knows what was in it."""
    world = busy()
    world.damaged.add(world.records[1][15].serial)
    found = plan.make(AtXid(world.records[1][10].xid), world.situation())
    assert found.undone is None
    assert f"  what will be undone is not known: {plan.SOME}" in list(found.lines(Clock(world.now, UTC)))


def test_a_plan_is_shown_in_full() -> None:
    """What people read before they agree: the moment, the stop, the base, the WAL, the losses, the time it takes."""
    world = busy()
    moment = world.records[1][10].moment
    lines = list(plan.make(AtTime(moment), world.situation()).lines(Clock(world.now, UTC)))
    assert lines[0] == "Target: 2026-11-21 10:00:05.500000+00"
    assert lines[1] == "  stops before the record at 0/31001E0 of timeline 1"
    assert lines[2].startswith("  base backup base0 (ended 2026-11-21 10:00:00.500000+00")
    assert lines[3] == "  WAL 0/1300050 to 0/3400208: 3 segments, no hole"
    assert lines[4] == "  will be undone: 11 transactions"
    assert lines[-1] == "  takes about 3 s"
