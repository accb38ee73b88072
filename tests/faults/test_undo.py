"""SIGKILL at every step of a change and of its way back: undo and redo know what the data is, and go on from there."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from drydock.fault_points import Point
from tests.checkout import Checkout
from tests.signs import levels, sign, signs

if TYPE_CHECKING:
    from collections.abc import Iterator

CHANGE = [point for point in Point if point.startswith("change")]
MADE = {Point.CHANGE_MADE, Point.CHANGE_FINISHED}


@pytest.fixture(scope="module")
def shop(engine_name: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    """A checkout for all of these: what one leaves to undo is below what the next one does."""
    made = Checkout(tmp_path_factory.mktemp("killed") / "shop", ENGINE=engine_name)
    made.run("up")
    yield made
    made.remove()


@pytest.mark.parametrize("point", CHANGE)
def test_a_reset_killed_at_any_step_can_be_undone_if_it_happened(shop: Checkout, point: Point) -> None:
    """Killed before the data changed there is nothing new to undo, and afterwards there is."""
    shop.run("reset")
    undo, _ = levels(shop)
    sign(shop, "before")
    shop.run("reset", code=-signal.SIGKILL, DRYDOCK_KILL_AT=point)
    shop.run("up")
    assert signs(shop) == ([] if point in MADE else ["before"])
    assert levels(shop) == (undo + (point in MADE), 0)
    if point in MADE:
        assert shop.json("undo")["way"] == "databases"
    assert signs(shop) == ["before"]
    shop.run("reset")
    shop.run("undo")
    assert signs(shop) == ["before"]


@pytest.mark.parametrize("task", ["reset", "undo", "restore.undo"])
def test_redis_is_flushed_if_only_by_the_next_up(shop: Checkout, task: str) -> None:
    """Killed when other data had just become live: `up` says that it flushes what belonged to the data from before."""
    shop.run("reset")
    sign(shop, "before")
    shop.redis("SET", "stale", "yes")
    shop.run(task, code=-signal.SIGKILL, DRYDOCK_KILL_AT=Point.DATABASES_SWAPPED)
    assert signs(shop) == []
    assert shop.redis("EXISTS", "stale") == "1"
    assert "Redis is flushed" in shop.run("up").stderr
    assert shop.redis("EXISTS", "stale") == "0"


@pytest.mark.parametrize("point", CHANGE)
def test_an_undo_killed_at_any_step_can_be_done_again_if_it_happened(shop: Checkout, point: Point) -> None:
    """Killed before the data changed undo is still to be done, and afterwards redo is; both lead where they should."""
    shop.run("reset")
    sign(shop, "first")
    shop.run("reset")
    sign(shop, "second")
    undo, redo = levels(shop)
    shop.run("undo", code=-signal.SIGKILL, DRYDOCK_KILL_AT=point)
    done = point in MADE
    assert levels(shop) == (undo - done, redo + done)
    shop.run("redo" if done else "undo")
    assert signs(shop) == ["second" if done else "first"]
    shop.run("undo" if done else "redo")
    assert signs(shop) == ["first" if done else "second"]
    assert shop.json("status")["status"] == "pass"
