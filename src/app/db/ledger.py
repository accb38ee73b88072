"""Who holds which connection since when, and where it was taken: figures, early warning and leaks of one pool.

There is no thread and no timer in here: leaks are looked for when somebody takes a connection, gives one back or asks
for figures. A process that does none of these does not suffer from its leak either.
"""

from __future__ import annotations

import logging
import sys
import threading
import weakref
from dataclasses import dataclass, field
from functools import cache
from time import monotonic
from typing import TYPE_CHECKING, Any

from greenlet import getcurrent

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType, FrameType

    from psycopg import BaseConnection

logger = logging.getLogger(__name__)

HERE = __name__.rpartition(".")[0]
# What stands between the code that wants a connection and the pool that gives it.
BETWEEN = frozenset({"sqlalchemy", "psycopg", "psycopg_pool", "contextlib", "asyncio", "stamina", "tenacity"})


@dataclass(frozen=True)
class PoolStats:
    """One moment of a pool.

    Attributes:
        minimum: connections it keeps open.
        maximum: connections it may have.
        size: connections it has, with those being made.
        in_use: connections handed out.
        idle: connections ready to be handed out.
        waiting: callers in the queue.
        overflow: connections beyond the minimum.
        waits: how many callers have had to wait since the pool was made.
        wait_seconds: how long they waited together.
        failures: connections that could not be made.
        longest: seconds for which the connection that is out longest has been out.
        leaks: where connections were taken that are held for too long, `file:line function (seconds)`.
    """

    minimum: int = 0
    maximum: int = 0
    size: int = 0
    in_use: int = 0
    idle: int = 0
    waiting: int = 0
    overflow: int = 0
    waits: int = 0
    wait_seconds: float = 0.0
    failures: int = 0
    longest: float = 0.0
    leaks: tuple[str, ...] = ()

    def __add__(self, other: PoolStats) -> PoolStats:
        """Both together, for a process that has a pool for threads and one for tasks."""
        mine, theirs = vars(self), vars(other)
        sums = {name: mine[name] + theirs[name] for name in mine if name != "longest"}
        return PoolStats(**sums, longest=max(self.longest, other.longest))


@dataclass(frozen=True)
class Events:
    """What a service may want to be told; each is called in the thread or task that noticed it, after the log line.

    Attributes:
        pressure: the connections in use have reached the share that DB_POOL_WARN_AT names; again only after a calm.
        leak: a connection is held for longer than DB_LEAK_AFTER; once for each time it is taken.
    """

    pressure: Callable[[int, int], None] | None = None
    leak: Callable[[str], None] | None = None


@dataclass(eq=False, slots=True)
class Lease:
    """One connection in one caller's hands."""

    since: float
    code: CodeType | None
    line: int
    reported: bool = False

    @property
    def where(self) -> str:
        """The place it was taken at, `file:line function`."""
        return f"{self.code.co_filename}:{self.line} {self.code.co_qualname}" if self.code else "an unknown place"


@dataclass(eq=False)
class Ledger:
    """The books of one pool.

    Attributes:
        maximum: connections it may have.
        warn_at: the share of them in use from which a warning is given; of three and more, before the last one goes.
        leak_after: seconds for which a connection may be held.
        events: whom to tell.
        clock: monotonic seconds.
        failure: why the last connection could not be made; None since one could.
        distrusted_at: when a connection broke last; the answers that others gave before prove nothing any more.
        connections: every connection that lives, so that a forked child can let go of them.
    """

    maximum: int
    warn_at: float
    leak_after: float
    events: Events = field(default_factory=Events)
    clock: Callable[[], float] = monotonic
    failure: Exception | None = None
    distrusted_at: float = 0.0
    connections: weakref.WeakSet[BaseConnection[Any]] = field(default_factory=weakref.WeakSet)

    def __post_init__(self) -> None:
        """Open the books."""
        # A pool of two, such as the owner's, would otherwise warn of every single use.
        self.threshold = max(2, min(int(self.warn_at * self.maximum), self.maximum - 1))
        self._leases: set[Lease] = set()
        # Entered by itself, for a condition's own `with` is a Python function and this is on every checkout's way.
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._warned = False
        self._next_look = 0.0

    @property
    def in_use(self) -> int:
        """Connections handed out."""
        return len(self._leases)

    def begin(self) -> Lease:
        """Write down that the caller has a connection now."""
        lease = Lease(self.clock(), *_caller())
        with self._lock:
            self._leases.add(lease)
            warn = len(self._leases) >= self.threshold and not self._warned
            self._warned |= warn
        if warn:
            self._warn()
        if lease.since >= self._next_look:
            self.look_for_leaks()
        return lease

    def end(self, lease: Lease) -> None:
        """Write down that the connection came back."""
        with self._lock:
            self._leases.discard(lease)
            if len(self._leases) <= self.threshold // 2:
                self._warned = False
            if not self._leases:
                self._changed.notify_all()
        if lease.reported:
            held = self.clock() - lease.since
            logger.warning("the connection taken at %s came back after %.3g s", lease.where, held)

    def wait_until_unused(self, timeout: float) -> bool:
        """Wait until every connection came back; false where `timeout` seconds were not enough."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._leases, timeout)

    def held(self, longer_than: float = 0.0) -> list[str]:
        """Where the connections that are out were taken, the oldest first, `file:line function (seconds)`."""
        now = self.clock()
        old = sorted((lease for lease in self._copy() if now - lease.since > longer_than), key=lambda each: each.since)
        return [f"{lease.where} ({now - lease.since:.3g} s)" for lease in old]

    def longest(self) -> float:
        """Seconds for which the connection that is out longest has been out."""
        return max((self.clock() - lease.since for lease in self._copy()), default=0.0)

    def look_for_leaks(self) -> None:
        """Report every connection that has been out for too long and was not reported yet."""
        now = self.clock()
        self._next_look = now + self.leak_after / 4
        for lease in self._copy():
            if now - lease.since > self.leak_after and not lease.reported:
                lease.reported = True
                logger.warning("a connection taken at %s is out for %.3g s", lease.where, now - lease.since)
                if self.events.leak:
                    self.events.leak(lease.where)

    def _copy(self) -> list[Lease]:
        with self._lock:
            return list(self._leases)

    def _warn(self) -> None:
        logger.warning("%d of %d database connections are in use", self.in_use, self.maximum)
        if self.events.pressure:
            self.events.pressure(self.in_use, self.maximum)


@cache
def _is_between(module: str | None) -> bool:
    name = module or ""
    return name.partition(".")[0] in BETWEEN or name == HERE or name.startswith(f"{HERE}.")


def _caller() -> tuple[CodeType | None, int]:
    """The nearest line outside the libraries in between, across the greenlet that async SQLAlchemy runs in."""
    frame: FrameType | None = sys._getframe(2)  # noqa: SLF001 - documented, and 100 times as fast as `inspect.stack`
    greenlet = getcurrent()
    while True:
        while frame is not None:
            if not _is_between(frame.f_globals.get("__name__")):
                return frame.f_code, frame.f_lineno
            frame = frame.f_back
        if greenlet.parent is None:
            return None, 0
        greenlet = greenlet.parent
        frame = greenlet.gr_frame
