"""Repeating work on the database: what may be repeated, after which errors, and for how long.

What is repeated is a function that gets a session in a transaction of its own. Each attempt but the last successful one
has been rolled back as a whole, so the function must do nothing else than work on that session: a mail that it sent
would be sent again. SQLSTATEs: PostgreSQL documentation, appendix A.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import psycopg
import stamina
from sqlalchemy.exc import DBAPIError

from app.db.breaker import Verdict
from app.errors import DatabaseUnavailable, OutcomeUnknown

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
    from sqlalchemy.orm import Session, sessionmaker

T = TypeVar("T")

# admin_shutdown, crash_shutdown, cannot_connect_now, too_many_connections
CONNECTION = frozenset({"57P01", "57P02", "57P03", "53300"})
CONNECTION_CLASS = "08"
# serialization_failure, deadlock_detected
CONFLICT = frozenset({"40001", "40P01"})


@dataclass(frozen=True)
class RetryPolicy:
    """How often and for how long; times in seconds.

    Attributes:
        attempts: at most, with the first one.
        timeout: no attempt begins later than this after the first one.
        wait: before the second attempt; it doubles each time.
        wait_max: between two attempts, at most.
        jitter: up to so much is added at random, so that those who failed together do not come back together.
        idempotent: the work may be done twice, so that it is repeated where its commit may have happened already.
    """

    attempts: int = 5
    timeout: float = 15.0
    wait: float = 0.05
    wait_max: float = 2.0
    jitter: float = 0.1
    idempotent: bool = False

    def attempts_at(self, on: Callable[[Exception], bool]) -> stamina._core._RetryContextIterator:
        """Stamina's iterator over the attempts."""
        return stamina.retry_context(
            on=on,
            attempts=self.attempts,
            timeout=self.timeout,
            wait_initial=self.wait,
            wait_max=self.wait_max,
            wait_jitter=self.jitter,
        )

    def repeats(self, error: Exception) -> bool:
        """Whether to try again after this error."""
        if isinstance(error, OutcomeUnknown):
            return self.idempotent
        return is_unavailable(error) or sqlstate(error) in CONFLICT


def sqlstate(error: BaseException) -> str:
    """The SQLSTATE that a library's error carries; empty where the server sent none."""
    original = error.orig if isinstance(error, DBAPIError) else error
    return (original.sqlstate or "") if isinstance(original, psycopg.Error) else ""


def is_unavailable(error: BaseException) -> bool:
    """Whether it says that the server cannot be reached or has gone, so that no transaction of ours goes on."""
    if isinstance(error, DatabaseUnavailable):
        return True
    state = sqlstate(error)
    lost = isinstance(error, DBAPIError) and error.connection_invalidated
    return lost or state in CONNECTION or state.startswith(CONNECTION_CLASS)


def judge(error: Exception) -> Verdict:
    """What an error says about the server, for the circuit breaker."""
    if is_unavailable(error):
        return Verdict.FAILED
    # A pool that is used up is our own doing, and any other error that is not the server's says nothing either.
    return Verdict.ANSWERED if isinstance(error, DBAPIError) and sqlstate(error) else Verdict.NOTHING


def run(sessions: sessionmaker[Session], work: Callable[[Session], T], policy: RetryPolicy) -> T:
    """Do the work in a transaction of its own, and as a whole again where that is safe and may help.

    Raises:
        OutcomeUnknown: the connection was lost during the commit, and the work is not idempotent.
        DatabaseUnavailable: the server was not there, at any attempt.
    """
    try:
        for attempt in policy.attempts_at(policy.repeats):
            with attempt:
                return _once(sessions, work)
    except DBAPIError as error:
        raise _typed(error) from error
    raise AssertionError("stamina ends with a result or an error")


async def run_async(
    sessions: async_sessionmaker[AsyncSession], work: Callable[[AsyncSession], Awaitable[T]], policy: RetryPolicy
) -> T:
    """The same for tasks."""
    try:
        async for attempt in policy.attempts_at(policy.repeats):
            with attempt:
                return await _once_async(sessions, work)
    except DBAPIError as error:
        raise _typed(error) from error
    raise AssertionError("stamina ends with a result or an error")


def _once(sessions: sessionmaker[Session], work: Callable[[Session], T]) -> T:
    with sessions() as session:
        result = work(session)
        try:
            session.commit()
        except DBAPIError as error:
            raise _after_commit(error) from error
        return result


async def _once_async(sessions: async_sessionmaker[AsyncSession], work: Callable[[AsyncSession], Awaitable[T]]) -> T:
    async with sessions() as session:
        result = await work(session)
        try:
            await session.commit()
        except DBAPIError as error:
            raise _after_commit(error) from error
        return result


def _after_commit(error: DBAPIError) -> Exception:
    """The error of a commit: one that the server refused was rolled back, of one without an answer nobody knows."""
    return (
        OutcomeUnknown("The connection was lost during a commit: its changes may be there or not.")
        if (is_unavailable(error))
        else error
    )


def _typed(error: DBAPIError) -> Exception:
    if is_unavailable(error):
        return DatabaseUnavailable(f"The database went away during the work: {type(error.orig).__name__}.")
    return error
