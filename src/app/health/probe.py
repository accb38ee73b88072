"""Questions that may never be answered: asked in a thread, one at a time, and not waited for beyond a deadline.

However many ask while a question is open, it is asked once; where it hangs, everybody is told so at the deadline, and
those who come later at once. A server that is paused for an hour costs one thread and one connection.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.health.check import Check, Status, worst
from app.logs import report

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Answer = Sequence[Check]

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Flight:
    """A question that was asked, and when."""

    answer: Future[Answer]
    begun: float


class Probe:
    """One question about one component.

    Args:
        component: what is asked about; the deadline's own check is `component:responseTime`.
        ask: returns the checks; may block, for as long as the driver's own timeouts let it.
        deadline: seconds within which everybody is told something.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        component: str,
        ask: Callable[[], Answer],
        *,
        deadline: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._component = component
        self._ask = ask
        self._deadline = deadline
        self._clock = clock
        self._lock = threading.Lock()
        self._flight: _Flight | None = None
        self._last = Status.PASS

    def begin(self) -> None:
        """Ask now, and do not wait; whoever wants the answer next joins."""
        self._join()

    def answer(self) -> Answer:
        """The checks, or that there is no answer; takes no longer than the deadline."""
        flight = self._join()
        try:
            return self._noted(flight.answer.result(self._left(flight)))
        except TimeoutError:
            return self._noted(self._silence(flight))

    async def answer_async(self) -> Answer:
        """The same without holding the event loop."""
        flight = self._join()
        answered = asyncio.wrap_future(flight.answer)
        done, _ = await asyncio.wait([answered], timeout=self._left(flight))
        return self._noted(answered.result() if done else self._silence(flight))

    def _join(self) -> _Flight:
        with self._lock:
            if self._flight is None or self._flight.answer.done():
                self._flight = _Flight(Future(), self._clock())
                # A daemon: the process may end while a server is silent.
                threading.Thread(
                    target=self._fly, args=(self._flight,), name=f"health-{self._component}", daemon=True
                ).start()
            return self._flight

    def _fly(self, flight: _Flight) -> None:
        flight.answer.set_running_or_notify_cancel()
        try:
            flight.answer.set_result(self._ask())
        except Exception as error:  # noqa: BLE001 - a mistake of ours must not look like silence
            told = report(error, production=True)
            name = f"{self._component}:responseTime"
            flight.answer.set_result([Check(name=name, status=Status.FAIL, output=told.message)])

    def _left(self, flight: _Flight) -> float:
        return max(0.0, flight.begun + self._deadline - self._clock())

    def _silence(self, flight: _Flight) -> Answer:
        open_for = max(self._deadline, self._clock() - flight.begun)
        output = f"no answer within {self._deadline:g} s"
        name = f"{self._component}:responseTime"
        return [Check(name=name, status=Status.FAIL, value=round(open_for * 1000), unit="ms", output=output)]

    def _noted(self, checks: Answer) -> Answer:
        """Log a status that changed; a probe every few seconds would fill the log with what is known."""
        status = worst(checks)
        if status is not self._last:
            reasons = "; ".join(f"{check.name}: {check.cause or check.output}" for check in checks if check.output)
            _LOGGER.warning("health of %s: %s, was %s. %s", self._component, status, self._last, reasons)
            self._last = status
        return checks
