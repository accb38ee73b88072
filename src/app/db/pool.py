"""The connection pools: psycopg's own, for threads and for tasks, with errors that say what is the matter.

psycopg_pool and not SQLAlchemy's QueuePool, because it really has a minimum that is kept open, an idle timeout above
it, a jittered lifetime and a queue in order of arrival; QueuePool has none of the four. SQLAlchemy sits on top with
its NullPool, for which a connection is made (`creator`) and closed at each use: made means taken from here, and closed
means given back.

What is added to psycopg_pool 3.3, each for a reason that its source shows:
- A caller does not wait out its time while the server refuses connections: the first refusal fails all who wait,
  unless connections that are out may still come back. psycopg_pool would try again after 1, 2, 4 … s, so that an
  outage goes on for as long again as it took; here the next caller's need is the next attempt.
- A connection that answered within the last second is handed out unasked (as HikariCP's aliveBypassWindowMs does it;
  asking takes 57 of 515 µs), unless another one broke since. An older one is asked with a deadline:
  `check_connection` would wait for a paused server without an end.
- One dead connection found makes the pool drop all idle ones that are not younger: after a restart of the server they
  are dead too, and each would cost the next caller a wait.
"""

from __future__ import annotations

import os
from collections import deque
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any

from psycopg_pool import AsyncConnectionPool, ConnectionPool, PoolClosed, PoolTimeout

from app.db.connection import AsyncPooledConnection, PooledConnection
from app.db.ledger import Ledger, PoolStats
from app.errors import DatabaseUnavailable, PoolExhausted

if TYPE_CHECKING:
    from collections.abc import Mapping

FRESH = 1.0
"""Seconds for which an answer of the server is taken as a sign that it lives."""
ANSWER_WITHIN = 3.0
"""Seconds within which a server has to answer an empty query."""
HOLDERS_SHOWN = 3


@dataclass(frozen=True)
class PoolOptions:
    """How to connect, and how many connections to keep; times in seconds.

    Attributes:
        name: of the pool, in the log and in errors.
        parameters: libpq's connection parameters.
        minimum: connections that are kept open.
        maximum: connections at most.
        timeout: how long a caller waits.
        idle: how long a connection beyond the minimum may stay unused.
        lifetime: the age at which a connection is replaced, less up to 5 %.
        statement_timeout: how long a statement may run.
        prepare: `auto`, `always` or `never`; see Settings.
    """

    name: str
    parameters: Mapping[str, Any]
    minimum: int
    maximum: int
    timeout: float
    idle: float
    lifetime: float
    statement_timeout: float
    prepare: str

    def arguments(self, ledger: Ledger) -> dict[str, Any]:
        """For psycopg_pool's constructors."""
        return {
            "kwargs": {**self.parameters, "ledger": ledger},
            "min_size": self.minimum,
            "max_size": self.maximum,
            "timeout": self.timeout,
            "max_idle": self.idle,
            "max_lifetime": self.lifetime,
            # Not a second round of attempts by the clock: who needs a connection next tries next.
            "reconnect_timeout": 0,
            "close_returns": True,
            "name": self.name,
            "open": False,
        }


class _Account:
    """What both pools say of themselves."""

    pool: ConnectionPool[PooledConnection] | AsyncConnectionPool[AsyncPooledConnection]

    def __init__(self, options: PoolOptions, ledger: Ledger) -> None:
        self.options = options
        self.ledger = ledger
        self.closing = False
        self._drained_at = 0.0

    def stats(self) -> PoolStats:
        """Figures of this moment; looks for leaks, too."""
        self.ledger.look_for_leaks()
        found = self.pool.get_stats()
        return PoolStats(
            minimum=self.options.minimum,
            maximum=self.options.maximum,
            size=found["pool_size"],
            in_use=self.ledger.in_use,
            idle=found["pool_available"],
            waiting=found["requests_waiting"],
            overflow=max(0, found["pool_size"] - self.options.minimum),
            waits=found.get("requests_queued", 0),
            wait_seconds=found.get("requests_wait_ms", 0) / 1000,
            failures=found.get("connections_errors", 0),
            longest=self.ledger.longest(),
            leaks=tuple(self.ledger.held(longer_than=self.ledger.leak_after)),
        )

    def refuse_when_closed(self) -> None:
        """Hand out nothing while what is out comes back for the last time.

        Raises:
            DatabaseUnavailable: the pool is closed or being closed.
        """
        if self.closing:
            raise DatabaseUnavailable(f"{self.options.name} is closed: close_connections() was called.")

    def why_none(self, begun: float) -> DatabaseUnavailable | PoolExhausted:
        """The error for a caller who got no connection in time."""
        in_use = self.ledger.in_use
        if in_use < self.options.maximum:
            return self.unavailable()
        return PoolExhausted(
            in_use=in_use,
            maximum=self.options.maximum,
            waiting=int(self.pool.get_stats()["requests_waiting"]),
            waited=monotonic() - begun,
            holders=self.ledger.held()[:HOLDERS_SHOWN],
        )

    def unavailable(self) -> DatabaseUnavailable:
        """The error for a server that no connection can be made to."""
        where = self.options.parameters
        failure = self.ledger.failure
        reason = str(failure).strip() if failure else f"no answer within {self.options.timeout:g} s"
        error = DatabaseUnavailable(
            f"No connection to database {where.get('dbname')} on {where.get('host')}:{where.get('port', 5432)}: "
            f"{reason}"
        )
        error.__cause__ = failure
        return error

    def nobody_can_help(self) -> bool:
        """Whether those who wait would wait in vain: no connection is out that could come back to them."""
        return self.ledger.in_use == 0

    def needs_draining(self, dead: PooledConnection | AsyncPooledConnection) -> bool:
        """Whether what is idle is as old as a connection that was found dead."""
        if dead.made_at <= self._drained_at:
            return False
        self._drained_at = monotonic()
        return True

    def time_to_answer(self, deadline: float) -> float:
        """Seconds that a server gets for an answer."""
        return max(0.05, min(ANSWER_WITHIN, deadline - monotonic()))

    def let_go(self) -> None:
        """In a forked child: part from the parent's connections without a word to the server.

        Their sockets are replaced by the null device, in this process only: neither a rollback of ours nor a
        destructor can reach the parent's sessions.
        """
        null = os.open(os.devnull, os.O_RDWR)
        for connection in list(self.ledger.connections):
            if not connection.closed:
                os.dup2(null, connection.fileno())
        os.close(null)


class Pool(_Account):
    """Connections for threads. Opened by its first caller; nothing connects before."""

    def __init__(self, options: PoolOptions, ledger: Ledger) -> None:
        super().__init__(options, ledger)
        self.pool: ConnectionPool[PooledConnection] = ConnectionPool(
            connection_class=PooledConnection,
            configure=lambda made: made.introduce(options.statement_timeout, options.prepare),
            reconnect_failed=self._fail_waiting,
            **options.arguments(ledger),
        )
        self.pool.open()

    def checkout(self) -> PooledConnection:
        """A connection that answers; its `close` gives it back.

        Raises:
            PoolExhausted: all stayed in use.
            DatabaseUnavailable: none could be made, or the pool was closed.
        """
        self.refuse_when_closed()
        begun = monotonic()
        deadline = begun + self.options.timeout
        while True:
            try:
                connection = self.pool.getconn(deadline - monotonic())
            except PoolTimeout:
                raise self.why_none(begun) from None
            except PoolClosed:
                raise DatabaseUnavailable(f"{self.options.name} is closed: close_connections() was called.") from None
            if connection.answered_within(FRESH) or connection.answers(self.time_to_answer(deadline)):
                connection.hand_out()
                return connection
            self._discard(connection)

    def close(self, timeout: float) -> None:
        """Hand out no more, wait `timeout` seconds for what is out, and close; what comes later is closed then."""
        self.closing = True
        self.ledger.wait_until_unused(timeout)
        self.pool.close()

    def _discard(self, connection: PooledConnection) -> None:
        drain = self.needs_draining(connection)
        self.pool.putconn(connection)
        if drain:
            self.pool.drain()

    def _fail_waiting(self, pool: ConnectionPool[Any]) -> None:
        if not self.nobody_can_help():
            return
        # psycopg_pool has no public way to tell those who wait; this is how its own `close` does it.
        with pool._lock:  # noqa: SLF001
            waiting, pool._waiting = pool._waiting, deque()  # noqa: SLF001
        for position in waiting:
            position.fail(self.unavailable())


class AsyncPool(_Account):
    """Connections for the tasks of one event loop; each method is what the one of the same name is for threads."""

    def __init__(self, options: PoolOptions, ledger: Ledger) -> None:
        super().__init__(options, ledger)
        self.pool: AsyncConnectionPool[AsyncPooledConnection] = AsyncConnectionPool(
            connection_class=AsyncPooledConnection,
            configure=lambda made: made.introduce(options.statement_timeout, options.prepare),
            reconnect_failed=self._fail_waiting,
            **options.arguments(ledger),
        )

    async def checkout(self) -> AsyncPooledConnection:
        """A connection that answers; its `close` gives it back.

        Raises:
            PoolExhausted: all stayed in use.
            DatabaseUnavailable: none could be made, or the pool was closed.
        """
        self.refuse_when_closed()
        begun = monotonic()
        deadline = begun + self.options.timeout
        if self.pool.closed:
            await self.pool.open()
        while True:
            try:
                connection = await self.pool.getconn(deadline - monotonic())
            except PoolTimeout:
                raise self.why_none(begun) from None
            except PoolClosed:
                raise DatabaseUnavailable(f"{self.options.name} is closed: close_connections() was called.") from None
            if await self._lives(connection, deadline):
                connection.hand_out()
                return connection
            await self._discard(connection)

    async def close(self, timeout: float) -> None:  # noqa: ASYNC109 - as for threads
        """Hand out no more, wait `timeout` seconds for what is out, and close; what comes later is closed then."""
        import asyncio

        self.closing = True
        await asyncio.to_thread(self.ledger.wait_until_unused, timeout)
        await self.pool.close()

    async def _lives(self, connection: AsyncPooledConnection, deadline: float) -> bool:
        if connection.answered_within(FRESH):
            return True
        try:
            return await connection.answers(self.time_to_answer(deadline))
        except BaseException:
            # A cancelled caller leaves the connection to the pool, which looks at its state.
            await self.pool.putconn(connection)
            raise

    async def _discard(self, connection: AsyncPooledConnection) -> None:
        drain = self.needs_draining(connection)
        await self.pool.putconn(connection)
        if drain:
            await self.pool.drain()

    async def _fail_waiting(self, pool: AsyncConnectionPool[Any]) -> None:
        if not self.nobody_can_help():
            return
        async with pool._lock:  # noqa: SLF001 - see above
            waiting, pool._waiting = pool._waiting, deque()  # noqa: SLF001
        for position in waiting:
            await position.fail(self.unavailable())
