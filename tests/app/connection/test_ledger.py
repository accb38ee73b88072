"""The books of a pool with a clock that the test moves: early warning, leaks, figures."""

from __future__ import annotations

import pytest

from app.db.ledger import Events, Ledger, PoolStats


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Now."""
        return self.now


@pytest.mark.parametrize(
    ("maximum", "share", "threshold"),
    [(10, 0.8, 8), (10, 1.0, 9), (10, 0.01, 2), (2, 0.8, 2), (3, 1.0, 2), (5, 0.9, 4), (100, 0.95, 95)],
)
def test_the_warning_comes_before_the_last_connection_goes(maximum: int, share: float, threshold: int) -> None:
    """At the share named, and always one before the maximum where there are more than two."""
    told: list[tuple[int, int]] = []
    ledger = Ledger(maximum, share, 60, Events(pressure=lambda *figures: told.append(figures)))
    for _ in range(maximum):
        ledger.begin()
    assert told == [(threshold, maximum)]


def test_the_warning_is_not_repeated_while_it_is_still_busy() -> None:
    """Going up and down around the threshold is one event; a calm ends it."""
    told: list[int] = []
    ledger = Ledger(10, 0.8, 60, Events(pressure=lambda in_use, _: told.append(in_use)))
    leases = [ledger.begin() for _ in range(8)]
    for _ in range(5):
        ledger.end(leases.pop())
        leases.append(ledger.begin())
    assert told == [8]
    for lease in leases:
        ledger.end(lease)
    for _ in range(8):
        ledger.begin()
    assert told == [8, 8]


def test_leaks_are_reported_once_and_oldest_first() -> None:
    """What is out for longer than allowed, with its seconds; found when somebody takes a connection, too."""
    told: list[str] = []
    clock = Clock()
    ledger = Ledger(10, 0.8, 60, Events(leak=told.append), clock)
    first = ledger.begin()
    clock.now = 50
    ledger.begin()
    assert (ledger.held(longer_than=60), told) == ([], [])
    clock.now = 70
    ledger.begin()
    assert len(told) == 1
    clock.now = 115
    ledger.look_for_leaks()
    assert len(told) == 2
    assert [place.rpartition(" (")[2] for place in ledger.held(longer_than=60)] == ["115 s)", "65 s)"]
    assert ledger.longest() == 115
    ledger.end(first)
    assert ledger.longest() == 65
    ledger.look_for_leaks()
    assert len(told) == 2


def test_waiting_for_the_last_return_has_an_end() -> None:
    """False where a connection stays out; true as soon as none is."""
    ledger = Ledger(2, 0.8, 60)
    lease = ledger.begin()
    assert ledger.wait_until_unused(0.01) is False
    ledger.end(lease)
    assert ledger.wait_until_unused(0) is True


def test_figures_of_two_pools_add_up() -> None:
    """Counts are summed; the longest is the longer one."""
    both = PoolStats(maximum=10, in_use=2, longest=3, leaks=("a",)) + PoolStats(maximum=10, in_use=1, longest=5)
    assert (both.maximum, both.in_use, both.longest, both.leaks) == (20, 3, 5, ("a",))
