"""SIGKILL at every step of a change and of its way back: undo and redo know what the data is, and go on from there."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from drydock.fault_points import Point
from tests.signs import levels, sign, signs

if TYPE_CHECKING:
    from tests.checkout import Checkout

CHANGE = [point for point in Point if point.startswith("change")]
MADE = {Point.CHANGE_MADE, Point.CHANGE_FINISHED}


@pytest.mark.parametrize("point", CHANGE)
def test_a_reset_killed_at_any_step_can_be_undone_if_it_happened(scratch: Checkout, point: Point) -> None:
    """Killed before the data changed there is nothing new to undo, and afterwards there is."""
    scratch.run("reset")
    undo, _ = levels(scratch)
    sign(scratch, "before")
    scratch.run("reset", code=-signal.SIGKILL, DRYDOCK_KILL_AT=point)
    scratch.run("up")
    assert signs(scratch) == ([] if point in MADE else ["before"])
    assert levels(scratch) == (undo + (point in MADE), 0)
    if point in MADE:
        assert scratch.json("undo")["way"] == "databases"
    assert signs(scratch) == ["before"]
    scratch.run("reset")
    scratch.run("undo")
    assert signs(scratch) == ["before"]


@pytest.mark.parametrize("point", CHANGE)
def test_an_undo_killed_at_any_step_can_be_done_again_if_it_happened(scratch: Checkout, point: Point) -> None:
    """Killed before the data changed undo is still to be done, and afterwards redo is; both lead where they should."""
    scratch.run("reset")
    sign(scratch, "first")
    scratch.run("reset")
    sign(scratch, "second")
    undo, redo = levels(scratch)
    scratch.run("undo", code=-signal.SIGKILL, DRYDOCK_KILL_AT=point)
    done = point in MADE
    assert levels(scratch) == (undo - done, redo + done)
    scratch.run("redo" if done else "undo")
    assert signs(scratch) == ["second" if done else "first"]
    scratch.run("undo" if done else "redo")
    assert signs(scratch) == ["first" if done else "second"]
    assert scratch.json("status")["status"] == "pass"
