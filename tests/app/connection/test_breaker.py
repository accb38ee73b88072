"""The circuit breaker against a model, with a clock that the test moves; and its promises one by one."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from app.db.breaker import BreakerOptions, CircuitBreaker, State, Verdict
from app.errors import CircuitOpen

THRESHOLD, COOLDOWN = 3, 10.0


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        """Now."""
        return self.now


class DownError(Exception):
    """The dependency failed."""


class OwnError(Exception):
    """Says nothing about the dependency."""


def judge(error: Exception) -> Verdict:
    """What the errors of these tests say."""
    if isinstance(error, DownError):
        return Verdict.FAILED
    return Verdict.NOTHING if isinstance(error, OwnError) else Verdict.ANSWERED


def make(clock: Clock, **more: Any) -> CircuitBreaker:
    """A breaker that opens after three failures for ten seconds."""
    return CircuitBreaker("it", judge, BreakerOptions(THRESHOLD, COOLDOWN), clock=clock, **more)


def fail(breaker: CircuitBreaker, times: int = THRESHOLD) -> None:
    """Let so many calls fail."""
    for _ in range(times):
        with pytest.raises(DownError), breaker.guard():
            raise DownError


class Model(RuleBasedStateMachine):
    """Calls begin, go on side by side and end, while time passes; a plain list of rules says what must be."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.breaker = make(self.clock)
        self.running: list[tuple[Any, int]] = []
        self.state, self.failures, self.era = "closed", 0, 0
        self.open_until = 0.0

    @rule(seconds=st.sampled_from([0.1, 4.0, 9.9, 10.0, 25.0]))
    def time_passes(self, seconds: float) -> None:
        """Nothing happens by time alone."""
        self.clock.now += seconds

    @rule()
    def begin(self) -> None:
        """A call is let in, or refused with the time of the next probe."""
        guard = self.breaker.guard()
        if self.state == "closed" or self.clock.now >= self.open_until:
            guard.__enter__()
            if self.state != "closed":
                self.state, self.open_until, self.era = "half-open", self.clock.now + COOLDOWN, self.era + 1
            self.running.append((guard, self.era))
            return
        with pytest.raises(CircuitOpen) as caught:
            guard.__enter__()
        assert caught.value.retry_after == pytest.approx(self.open_until - self.clock.now)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), how=st.sampled_from([None, DownError, OwnError, ValueError, KeyboardInterrupt]))
    def end(self, data: st.DataObject, how: type[BaseException] | None) -> None:
        """Any running call ends, well or not."""
        guard, era = self.running.pop(data.draw(st.integers(0, len(self.running) - 1)))
        error = how() if how else None
        assert not guard.__exit__(how, error, None)
        if era != self.era:
            return
        if how is DownError:
            self.failures += 1
            if self.state == "half-open" or self.failures >= THRESHOLD:
                self.state, self.open_until, self.era = "open", self.clock.now + COOLDOWN, self.era + 1
        elif how in {None, ValueError}:
            self.era += self.state != "closed"
            self.state, self.failures = "closed", 0
        elif self.state == "half-open":
            self.state, self.open_until, self.era = "open", self.clock.now, self.era + 1

    @invariant()
    def agrees(self) -> None:
        """The breaker says of itself what the model says."""
        found = self.breaker.snapshot()
        assert (found.state, found.failures) == (self.state, self.failures)
        assert found.retry_after >= 0

    def teardown(self) -> None:
        """No generator may end by itself."""
        for guard, _ in self.running:
            guard.__exit__(None, None, None)


Model.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestBreaker = Model.TestCase


def test_open_means_an_immediate_typed_error() -> None:
    """While open nothing is called, and the error says when the next probe may go."""
    clock = Clock()
    breaker = make(clock)
    fail(breaker)
    clock.now += 4
    with pytest.raises(CircuitOpen, match=r"the next probe may go in 6 s") as caught:
        breaker.call(lambda: pytest.fail("called while open"))
    assert caught.value.retry_after == 6


def test_a_caller_may_take_a_degraded_answer() -> None:
    """With a fallback, an open breaker and a failure that counts are answered; other errors are not hidden."""
    breaker = make(Clock())

    def down() -> str:
        raise DownError

    def wrong() -> str:
        raise ValueError("wrong")

    assert [breaker.call(down, lambda error: type(error).__name__) for _ in range(4)] == [
        "DownError",
        "DownError",
        "DownError",
        "CircuitOpen",
    ]
    with pytest.raises(ValueError, match="wrong"):
        make(Clock()).call(wrong, lambda _: "hidden")


def test_one_probe_of_many_threads() -> None:
    """When the time has come, exactly one of those who ask at once goes through."""
    clock = Clock()
    breaker = make(clock)
    fail(breaker)
    clock.now += COOLDOWN
    barrier, done = threading.Barrier(8), threading.Event()

    def ask(_: int) -> str:
        barrier.wait(10)
        return breaker.call(lambda: "probe" if done.wait(10) else "late", lambda _: refused())

    refusals = threading.Semaphore(0)

    def refused() -> str:
        refusals.release()
        return "refused"

    with ThreadPoolExecutor(8) as threads:
        answers = threads.map(ask, range(8))
        for _ in range(7):
            assert refusals.acquire(timeout=10)
        done.set()
        assert sorted(answers) == ["probe", *["refused"] * 7]
    assert breaker.snapshot().state is State.CLOSED


def test_the_clock_is_one_that_nobody_sets() -> None:
    """Setting the time of day neither shortens nor prolongs the cool-down."""
    assert inspect.signature(CircuitBreaker).parameters["clock"].default is time.monotonic


def test_a_lost_probe_does_not_hold_up_the_next() -> None:
    """A probe that has not come back for a whole cool-down makes room, and its late end changes nothing."""
    clock = Clock()
    breaker = make(clock)
    fail(breaker)
    clock.now += COOLDOWN
    lost = breaker.guard()
    lost.__enter__()
    clock.now += COOLDOWN
    assert breaker.call(lambda: "second probe") == "second probe"
    assert not lost.__exit__(DownError, DownError(), None)
    assert breaker.snapshot().state is State.CLOSED


def test_the_listener_hears_every_change_once() -> None:
    """Closed, open, half-open and back; called without the lock, so that it may ask the breaker."""
    clock = Clock()
    heard: list[tuple[str, str, str]] = []

    def listen(before: State, after: State) -> None:
        heard.append((before, after, breaker.snapshot().state))

    breaker = make(clock, listener=listen)
    fail(breaker)
    clock.now += COOLDOWN
    breaker.call(lambda: None)
    assert heard == [("closed", "open", "open"), ("open", "half-open", "half-open"), ("half-open", "closed", "closed")]


def test_a_cancelled_probe_makes_room() -> None:
    """A task that is cancelled while it probes has learnt nothing; the next caller probes at once."""
    clock = Clock()
    breaker = make(clock)
    fail(breaker)
    clock.now += COOLDOWN

    async def main() -> str:
        begun = asyncio.Event()

        async def probe() -> None:
            begun.set()
            await asyncio.Event().wait()

        async def answer() -> str:
            return "next"

        task = asyncio.create_task(breaker.call_async(probe))
        await begun.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return await breaker.call_async(answer)

    assert asyncio.run(main()) == "next"


def test_the_snapshot_names_the_last_failure_by_class_only() -> None:
    """Health shows what kind of failure it was, not its text."""
    breaker = make(Clock())
    fail(breaker)
    found = breaker.snapshot()
    assert (found.state, found.failures, found.opened, found.last_error) == (State.OPEN, 3, 1, "DownError")
