"""Several transfers at once."""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING

import pytest

from drydock.backup.offsite import together

if TYPE_CHECKING:
    from collections.abc import Callable


def test_results_come_from_several_threads_at_once() -> None:
    """All of as many as there are workers run at the same time; more wait for their turn."""
    met = threading.Barrier(together.WORKERS)

    def work(number: int) -> int:
        if number < together.WORKERS:
            met.wait(30)
        return number * 2

    assert sorted(together.together(work, range(20))) == list(range(0, 40, 2))
    assert list(together.together(work, [])) == []


def test_after_an_error_nothing_is_begun_and_what_runs_is_waited_for() -> None:
    """The error is raised once the others have ended; most items are never looked at."""
    failed, begun, ended = threading.Event(), [], []

    def work(number: int) -> None:
        begun.append(number)
        if number == 0:
            failed.set()
            raise ValueError(number)
        failed.wait(30)
        ended.append(number)

    with pytest.raises(ValueError, match="0"):
        list(together.together(work, range(100_000)))
    assert sorted(begun) == sorted([0, *ended])
    assert len(begun) < 100_000


def _many(work: Callable[[int], None]) -> None:
    list(together.together(work, range(1000)))


def _one(work: Callable[[int], None]) -> None:
    together.interruptible(lambda: work(0))


@pytest.mark.parametrize("transfer", [_many, _one])
def test_ctrl_c_does_not_wait_for_a_transfer_that_hangs(
    transfer: Callable[[Callable[[int], None]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is raised though nothing ends; and nothing new is begun."""
    monkeypatch.setattr(together, "GRACE", 0.01)
    never, begun = threading.Event(), []

    def work(number: int) -> None:
        begun.append(number)
        if number == 0:
            os.kill(os.getpid(), signal.SIGINT)  # as a terminal does: to the process, not to this thread
        assert not never.wait(60), "waited for"

    with pytest.raises(KeyboardInterrupt):
        transfer(work)
    assert 0 < len(begun) <= together.WORKERS
    never.set()
