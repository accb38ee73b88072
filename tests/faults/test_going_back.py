"""A restore to a moment that is killed: the old cluster or the new one, and nothing is left beside."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from drydock.fault_points import Point
from drydock.recovery.archive.folders import Archive
from tests import timeline
from tests.checkout import Checkout

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.timeline import Numbers

POINTS = [point for point in Point if point.startswith(("rewind", "swap"))]
SWITCH = [Point.SWAP_STOPPED, Point.SWAP_SWITCHED, Point.SWAP_STARTED]
NEW = {Point.SWAP_SWITCHED, Point.SWAP_STARTED}


@pytest.fixture(scope="module")
def numbers(engine_name: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Numbers]:
    """A checkout of this module's own on each engine, archived."""
    checkout = Checkout(tmp_path_factory.mktemp("killed") / "shop", ENGINE=engine_name, WAL_ARCHIVE="on")
    yield timeline.archived(checkout)
    checkout.remove()


@pytest.mark.parametrize("point", POINTS)
def test_a_restore_killed_at_any_step_is_old_or_new(numbers: Numbers, point: Point) -> None:
    """SIGKILL: after `up` all rows are those of now or all those of then, in a state that everything accepts."""
    checkout = numbers.checkout
    checkout.query("DELETE FROM numbers")
    xids = [numbers.add(number) for number in (1, 2, 3)]
    checkout.redis("SET", "stale", "yes")
    numbers.archived()
    before = checkout.environment.engine.beside.volumes()
    words = ("restore", "--before-xid", xids[1], "--timeline", str(timeline_of(checkout)), "--yes")
    checkout.run(*words, code=-signal.SIGKILL, DRYDOCK_KILL_AT=point)

    checkout.run("up")
    assert numbers.all() == ([1] if point in NEW else [1, 2, 3])
    assert checkout.redis("EXISTS", "stale") == ("0" if point in NEW else "1")
    assert timeline.complaints(checkout) == []
    environment = checkout.environment
    own = environment.engine.beside.volume(str(environment.state.incarnation))
    assert environment.engine.beside.servers() == []
    assert environment.engine.beside.volumes() == sorted({*before, own})
    parts = archive(checkout).parts()
    assert parts[-1].name == environment.state.part
    assert not any(part.hole for part in parts)
    numbers.add(4)
    numbers.archived()


def test_a_branch_killed_once_it_is_written_down_is_whole(numbers: Numbers) -> None:
    """SIGKILL: what is listed as a branch keeps its data through the next `up`."""
    checkout = numbers.checkout
    checkout.query("DELETE FROM numbers")
    xids = [numbers.add(number) for number in (1, 2)]
    numbers.archived()
    words = ("restore", "--before-xid", xids[1], "--timeline", str(timeline_of(checkout)), "--branch", "killed")
    checkout.run(*words, code=-signal.SIGKILL, DRYDOCK_KILL_AT=Point.BRANCH_WRITTEN)
    checkout.run("up")
    count = ("--", "-tAc", "SELECT count(*) FROM numbers")
    assert checkout.run("psql", "--branch", "killed", *count).stdout.strip() == "1"
    checkout.run("branch.drop", "killed", "--yes")


@pytest.mark.parametrize("point", SWITCH)
def test_an_undo_of_a_restore_killed_at_any_step_can_be_done_again_if_it_happened(
    numbers: Numbers, point: Point
) -> None:
    """Killed before the switch undo is still to be done, and afterwards redo is; both lead where they should."""
    checkout, done = numbers.checkout, point in NEW
    checkout.query("DELETE FROM numbers")
    xids = [numbers.add(number) for number in (1, 2)]
    numbers.archived()
    checkout.run("restore", "--before-xid", xids[1], "--timeline", str(timeline_of(checkout)), "--yes")
    states = {True: [1, 2], False: [1]}
    checkout.run("undo", code=-signal.SIGKILL, DRYDOCK_KILL_AT=point)
    checkout.run("up")
    assert numbers.all() == states[done]
    checkout.run("redo" if done else "undo")
    assert numbers.all() == states[not done]
    checkout.run("undo" if done else "redo")
    assert numbers.all() == states[done]
    assert timeline.complaints(checkout) == []


def archive(checkout: Checkout) -> Archive:
    """The checkout's."""
    environment = checkout.environment
    return Archive(environment.settings, environment.state.system_identifier)


def timeline_of(checkout: Checkout) -> int:
    """The one that is written now."""
    (name,) = checkout.query("SELECT pg_walfile_name(pg_current_wal_lsn())")[0]
    return int(str(name)[:8], 16)


def test_two_restores_at_once_go_one_after_the_other(numbers: Numbers) -> None:
    """The second waits for the first, and both are done."""
    checkout = numbers.checkout
    checkout.query("DELETE FROM numbers")
    xids = [numbers.add(number) for number in (1, 2, 3)]
    numbers.archived()
    line = ("--timeline", str(timeline_of(checkout)))
    first = checkout.start("restore", "--before-xid", xids[2], *line, "--yes")
    second = checkout.start("restore", "--before-xid", xids[1], *line, "--yes")
    told = [process.communicate(timeout=170) for process in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0], told
    assert numbers.all() in ([1], [1, 2])
    assert timeline.complaints(checkout) == []
