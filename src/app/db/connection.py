"""Connections as the pool hands them out: they know when their server last answered, and who has them."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any, Self, TypeVar

import psycopg
from psycopg import generators, pq
from psycopg.pq import ConnStatus, TransactionStatus
from psycopg_pool import AsyncConnectionPool, ConnectionPool

if TYPE_CHECKING:
    from collections.abc import Callable

    from psycopg.abc import PQGen
    from psycopg.rows import TupleRow

    from app.db.ledger import Lease, Ledger

T = TypeVar("T")
# Through a pooler the number that the client was given for cancelling is not that of the server's process, so one
# round trip tells whether session state would end up with strangers. Only a session of our own gets the timeout.
INTRODUCTION = """
    SELECT pg_backend_pid() = %(pid)s,
           CASE WHEN pg_backend_pid() = %(pid)s THEN set_config('statement_timeout', %(timeout)s, false) END
"""


GRACE = 5.0
"""Seconds beyond the statement timeout after which a server that says nothing counts as gone."""
POLL = 0.1
"""Seconds between psycopg's looks for Ctrl-C, its own default."""


class _Books:
    """What is the same for both kinds of connection.

    Attributes:
        ledger: the books of the pool it belongs to.
        lease: while it is handed out.
        answered_at: when the server last answered, in monotonic seconds.
        made_at: when it was made.
        pooled: whether a transaction pooler is between it and the server.
        patience: seconds to wait for any answer; None while connecting, which has its own timeout.
    """

    ledger: Ledger | None = None
    lease: Lease | None = None
    answered_at = 0.0
    made_at = 0.0
    pooled = False
    patience: float | None = None
    # Of psycopg's, which the subclasses add.
    pgconn: pq.abc.PGconn
    prepare_threshold: int | None

    def made(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.answered_at = self.made_at = monotonic()
        ledger.failure = None

    def hand_out(self) -> None:
        """Enter it into the books as taken by the caller."""
        if self.ledger is not None:
            self.lease = self.ledger.begin()

    def take_back(self) -> bool:
        """Enter it as returned; false where it was not handed out, or has come back already."""
        lease, self.lease = self.lease, None
        if lease is None or self.ledger is None:
            return False
        self.ledger.end(lease)
        if self.usable:
            self.answered_at = monotonic()
        elif self.pgconn.status == ConnStatus.BAD:
            self.ledger.distrusted_at = monotonic()
        return True

    def answered_within(self, seconds: float) -> bool:
        """Whether its server has answered so lately, and nothing has happened since."""
        distrusted = self.ledger.distrusted_at if self.ledger is not None else 0.0
        return self.answered_at > distrusted and monotonic() - self.answered_at <= seconds

    @property
    def usable(self) -> bool:
        """Whether it is connected and between transactions, as far as the client knows."""
        return self.pgconn.status == ConnStatus.OK and self.pgconn.transaction_status == TransactionStatus.IDLE

    def silence(self) -> psycopg.OperationalError | None:
        """The error for a wait that ran out of patience; None where the server had said what is wrong.

        Closes the connection, for the answer may still come at any time.
        """
        if self.pgconn.transaction_status != TransactionStatus.ACTIVE:
            return None
        self.pgconn.finish()
        return psycopg.OperationalError(f"the server has said nothing for {self.patience:g} s: connection closed")

    def learn(self, row: TupleRow | None, prepare: str) -> None:
        """Take in what the introduction said.

        Behind a transaction pooler, repeated statements are not prepared: one older than PgBouncer 1.21, or without
        `max_prepared_statements`, sends them to servers that never heard of them, and no client can tell which it has.
        """
        self.pooled = not (row and row[0])
        if prepare == "never" or (prepare == "auto" and self.pooled):
            self.prepare_threshold = None


class PooledConnection(_Books, psycopg.Connection[Any]):
    """A connection of the pool for threads."""

    @classmethod
    def connect(  # type: ignore[override] # what psycopg takes, it takes through kwargs
        cls, conninfo: str = "", *, ledger: Ledger | None = None, **kwargs: Any
    ) -> Self:
        """Connect, and have the books know of it, or of the failure."""
        try:
            made = super().connect(conninfo, **kwargs)
        except psycopg.Error as error:
            if ledger is not None:
                ledger.failure = error
            raise
        if ledger is not None:
            made.made(ledger)
            ledger.connections.add(made)
        return made

    def introduce(self, statement_timeout: float, prepare: str) -> None:
        """Find out what is at the other end, and limit statements where the session is ours."""
        self.patience = statement_timeout + GRACE
        self.autocommit = True
        self.learn(
            self.execute(INTRODUCTION, _introduction(self, statement_timeout), prepare=False).fetchone(), prepare
        )
        self.autocommit = False

    def wait(self, gen: PQGen[T], interval: float = POLL, timeout: float | None = None) -> T:
        """Wait for the server, but not for ever: its own statement timeout ends nothing while it is paused or cut off.

        A statement that is allowed more by `SET LOCAL statement_timeout` is not allowed it here: such work gets a
        Database of its own, with a longer DB_STATEMENT_TIMEOUT. So does LISTEN.
        """
        try:
            return super().wait(gen, interval, self.patience if timeout is None else timeout)
        except psycopg.OperationalError as error:
            silence = self.silence()
            if silence is None:
                raise
            raise silence from error

    def answers(self, timeout: float) -> bool:
        """Whether the server answers an empty query within `timeout` seconds; if not, it is to be closed."""
        try:
            self.pgconn.send_query(b"")
            self.wait(generators.execute(self.pgconn), timeout=timeout)
        except psycopg.Error:
            return False
        return self.usable

    def close(self) -> None:
        """Give it back to its pool where it was handed out by one; else close it.

        psycopg's own `close` does nothing to a connection that broke, which would be missing from its pool for good.
        """
        if self.take_back() and isinstance(self._pool, ConnectionPool):
            self._pool.putconn(self)
        elif self._pool is None:
            super().close()

    def add_notice_handler(self, callback: Callable[[psycopg.errors.Diagnostic], None]) -> None:
        """Add a handler once: SQLAlchemy, for whom every checkout is a new connection, adds its own each time."""
        if callback not in self._notice_handlers:
            super().add_notice_handler(callback)


class AsyncPooledConnection(_Books, psycopg.AsyncConnection[Any]):
    """A connection of the pool for tasks; each method is what the one of the same name is for threads."""

    @classmethod
    async def connect(  # type: ignore[override] # as above
        cls, conninfo: str = "", *, ledger: Ledger | None = None, **kwargs: Any
    ) -> Self:
        """Connect, and have the books know of it, or of the failure."""
        try:
            made = await super().connect(conninfo, **kwargs)
        except psycopg.Error as error:
            if ledger is not None:
                ledger.failure = error
            raise
        if ledger is not None:
            made.made(ledger)
            ledger.connections.add(made)
        return made

    async def introduce(self, statement_timeout: float, prepare: str) -> None:
        """Find out what is at the other end, and limit statements where the session is ours."""
        self.patience = statement_timeout + GRACE
        await self.set_autocommit(True)
        cursor = await self.execute(INTRODUCTION, _introduction(self, statement_timeout), prepare=False)
        self.learn(await cursor.fetchone(), prepare)
        await self.set_autocommit(False)

    async def wait(
        self,
        gen: PQGen[T],
        interval: float = POLL,
        timeout: float | None = None,  # noqa: ASYNC109 - psycopg's own
    ) -> T:
        """Wait for the server, but not for ever."""
        try:
            return await super().wait(gen, interval, self.patience if timeout is None else timeout)
        except psycopg.OperationalError as error:
            silence = self.silence()
            if silence is None:
                raise
            raise silence from error

    async def answers(self, timeout: float) -> bool:  # noqa: ASYNC109 - psycopg's own wait takes it
        """Whether the server answers an empty query within `timeout` seconds; if not, it is to be closed."""
        try:
            self.pgconn.send_query(b"")
            await self.wait(generators.execute(self.pgconn), timeout=timeout)
        except psycopg.Error:
            return False
        return self.usable

    async def close(self) -> None:
        """Give it back to its pool where it was handed out by one; else close it."""
        if self.take_back() and isinstance(self._pool, AsyncConnectionPool):
            await self._pool.putconn(self)
        elif self._pool is None:
            await super().close()

    def add_notice_handler(self, callback: Callable[[psycopg.errors.Diagnostic], None]) -> None:
        """Add a handler once."""
        if callback not in self._notice_handlers:
            super().add_notice_handler(callback)


def milliseconds(seconds: float) -> str:
    """A timeout as Postgres reads it; at least 1, for 0 would be none."""
    return str(max(1, round(seconds * 1000)))


def _introduction(connection: psycopg.BaseConnection[Any], statement_timeout: float) -> dict[str, object]:
    return {"pid": connection.info.backend_pid, "timeout": milliseconds(statement_timeout)}
