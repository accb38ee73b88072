"""A circuit breaker: after repeated failures a dependency is left alone for a while, then tried by one caller.

The breaker stands outside of retries: what counts is a call that failed after all its attempts, and an open breaker
must not be asked again by a retry.
"""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from time import monotonic
from typing import TYPE_CHECKING, TypeVar

from app.errors import CircuitOpen

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

T = TypeVar("T")
logger = logging.getLogger(__name__)


class State(StrEnum):
    """Of a breaker."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class Verdict(StrEnum):
    """What the end of a call says about the dependency."""

    FAILED = "failed"
    ANSWERED = "answered"
    NOTHING = "nothing"


@dataclass(frozen=True)
class Snapshot:
    """One moment of a breaker.

    Attributes:
        name: of the breaker.
        state: closed lets all through, open nothing, half-open one probe.
        failures: calls in a row that failed.
        opened: how often it has opened.
        retry_after: seconds until a call may go through; 0 where one may now.
        last_error: the class of the last failure; empty where there was none.
    """

    name: str
    state: State
    failures: int
    opened: int
    retry_after: float
    last_error: str


@dataclass(frozen=True)
class BreakerOptions:
    """When to open and for how long.

    Attributes:
        threshold: failures in a row that open it.
        cooldown: seconds it stays open; a probe that has not come back for as long does not hold up the next one.
    """

    threshold: int = 5
    cooldown: float = 10.0


class CircuitBreaker:
    """Counts failures in a row; safe to use from many threads and tasks.

    Args:
        name: of the dependency.
        judge: what an exception says about it; anything but an Exception (a cancellation) says nothing.
        options: when to open and for how long.
        clock: monotonic seconds.
        listener: called with the old and the new state, after the change and without the lock.
    """

    def __init__(
        self,
        name: str,
        judge: Callable[[Exception], Verdict],
        options: BreakerOptions | None = None,
        *,
        clock: Callable[[], float] = monotonic,
        listener: Callable[[State, State], None] | None = None,
    ) -> None:
        self.name = name
        self._judge = judge
        self._options = options or BreakerOptions()
        self._clock = clock
        self._listener = listener
        self._lock = threading.Lock()
        self._state = State.CLOSED
        self._failures = 0
        self._opened = 0
        self._last_error = ""
        # When the next probe may go; while one is under way, when it no longer holds up another.
        self._next_probe = 0.0
        # Each admission belongs to an era; what ends in a later one has nothing to say about it.
        self._era = 0

    def call(self, work: Callable[[], T], fallback: Callable[[Exception], T] | None = None) -> T:
        """Do the work, unless the breaker is open.

        Args:
            work: what may fail.
            fallback: makes the degraded answer, from the error, where the breaker is open or the work failed in a way
                that counts; without it the error is raised.

        Raises:
            CircuitOpen: it is open.
        """
        try:
            with self.guard():
                return work()
        except Exception as error:
            if fallback is None or not self._degrades(error):
                raise
            return fallback(error)

    async def call_async(self, work: Callable[[], Awaitable[T]], fallback: Callable[[Exception], T] | None = None) -> T:
        """The same for tasks."""
        try:
            with self.guard():
                return await work()
        except Exception as error:
            if fallback is None or not self._degrades(error):
                raise
            return fallback(error)

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Let the block run, unless the breaker is open, and learn from its end.

        Raises:
            CircuitOpen: it is open.
        """
        era = self._admit()
        verdict, error = Verdict.NOTHING, ""
        try:
            yield
            verdict = Verdict.ANSWERED
        except Exception as caught:
            verdict, error = self._judge(caught), type(caught).__name__
            raise
        finally:
            self._settle(era, verdict, error)

    def snapshot(self) -> Snapshot:
        """Its state now, for the health document."""
        with self._lock:
            wait = 0.0 if self._state is State.CLOSED else max(0.0, self._next_probe - self._clock())
            return Snapshot(self.name, self._state, self._failures, self._opened, wait, self._last_error)

    def _degrades(self, error: Exception) -> bool:
        return isinstance(error, CircuitOpen) or self._judge(error) is Verdict.FAILED

    def _admit(self) -> int:
        with self._lock:
            if self._state is State.CLOSED:
                return self._era
            now = self._clock()
            if now < self._next_probe:
                raise CircuitOpen(self.name, self._next_probe - now)
            before = self._change(State.HALF_OPEN)
            self._next_probe = now + self._options.cooldown
            era = self._era
        self._tell(before, State.HALF_OPEN)
        return era

    def _settle(self, era: int, verdict: Verdict, error: str) -> None:
        with self._lock:
            if era != self._era:
                return
            before = self._state
            after = self._learn(verdict, error)
        self._tell(before, after)

    def _learn(self, verdict: Verdict, error: str) -> State:
        """Take in the end of a call of this era."""
        if verdict is Verdict.ANSWERED:
            self._failures = 0
            if self._state is not State.CLOSED:
                self._change(State.CLOSED)
        elif verdict is Verdict.FAILED:
            self._failures += 1
            self._last_error = error
            if self._state is State.HALF_OPEN or self._failures >= self._options.threshold:
                self._change(State.OPEN)
                self._opened += 1
                self._next_probe = self._clock() + self._options.cooldown
        elif self._state is State.HALF_OPEN:
            # The probe told nothing: the next caller may be one.
            self._change(State.OPEN)
            self._next_probe = self._clock()
        return self._state

    def _change(self, state: State) -> State:
        before, self._state = self._state, state
        self._era += 1
        return before

    def _tell(self, before: State, after: State) -> None:
        if before is after:
            return
        logger.warning("the circuit of %s is %s now, and was %s", self.name, after, before)
        if self._listener:
            self._listener(before, after)
