"""Session advisory locks: one process at a time does what the name says, however many transactions that takes.

Such a lock belongs to a session of the server, and a transaction pooler gives the session to somebody else after each
transaction: the lock would stay behind, held by nobody who knows. So each lock has a connection of its own, past the
pooler (DATABASE_DIRECT_URL); the server frees it when that connection ends, however the process came to its end.
"""

from __future__ import annotations

from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import psycopg

from app.errors import DatabaseUnavailable, LockTaken, SettingsError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from app.db.tls import Parameters

# 0 would be no timeout at all; this is as short as can be said.
SHORTEST = 0.001
LIMIT = "SELECT pg_backend_pid() = %(pid)s, set_config('lock_timeout', %(milliseconds)s, true)"
TAKE = "SELECT pg_advisory_lock(hashtextextended(%(name)s, 0))"
FREE = "SELECT pg_advisory_unlock(hashtextextended(%(name)s, 0))"


@contextmanager
def advisory_lock(parameters: Parameters, name: str, wait: float) -> Iterator[None]:
    """Hold the lock of a name while the block runs.

    Args:
        parameters: of a connection past any pooler.
        name: of what only one may do; any text, the same for all who are to keep out of each other's way.
        wait: seconds to wait for it.

    Raises:
        LockTaken: another session held it all the while.
        SettingsError: the connection leads through a transaction pooler, where such a lock means nothing.
        DatabaseUnavailable: no connection could be made, or it was lost during the block, and the lock with it.
    """
    try:
        connection = psycopg.connect(**parameters)
    except psycopg.OperationalError as error:
        raise _unavailable(error) from error
    with connection:
        try:
            _past_pooler(connection.execute(LIMIT, _limit(connection, wait)).fetchone())
            connection.execute(TAKE, {"name": name})
        except psycopg.errors.LockNotAvailable:
            raise _taken(name, wait) from None
        # The lock is the session's; its transaction need not stay open.
        connection.commit()
        try:
            yield
        finally:
            try:
                connection.execute(FREE, {"name": name})
            except psycopg.OperationalError as error:
                raise _lost(name) from error


@asynccontextmanager
async def advisory_lock_async(parameters: Parameters, name: str, wait: float) -> AsyncIterator[None]:
    """The same for tasks."""
    try:
        connection = await psycopg.AsyncConnection.connect(**parameters)
    except psycopg.OperationalError as error:
        raise _unavailable(error) from error
    async with connection:
        try:
            cursor = await connection.execute(LIMIT, _limit(connection, wait))
            _past_pooler(await cursor.fetchone())
            await connection.execute(TAKE, {"name": name})
        except psycopg.errors.LockNotAvailable:
            raise _taken(name, wait) from None
        await connection.commit()
        try:
            yield
        finally:
            try:
                await connection.execute(FREE, {"name": name})
            except psycopg.OperationalError as error:
                raise _lost(name) from error


def _limit(connection: psycopg.BaseConnection[Any], wait: float) -> dict[str, object]:
    milliseconds = str(round(max(wait, SHORTEST) * 1000))
    return {"pid": connection.info.backend_pid, "milliseconds": milliseconds}


def _past_pooler(row: tuple[Any, ...] | None) -> None:
    if not (row and row[0]):
        raise SettingsError(
            [("DATABASE_DIRECT_URL", "must lead past the pooler: a session lock taken through it is held by nobody")]
        )


def _taken(name: str, wait: float) -> LockTaken:
    return LockTaken(f"Another session held the lock of {name!r} for the {wait:g} s that we waited.")


def _lost(name: str) -> DatabaseUnavailable:
    return DatabaseUnavailable(f"The session with the lock of {name!r} was lost: another may have held it meanwhile.")


def _unavailable(error: psycopg.Error) -> DatabaseUnavailable:
    return DatabaseUnavailable(f"No connection for an advisory lock: {str(error).strip()}")
