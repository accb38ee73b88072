"""A flush of Redis that is owed: once other data is live, what Redis holds belongs to the data from before.

It is noted before the data changes, together with what is live once it has: a task that is killed in between leaves
the flush to the next `up`, and one that is killed before leaves a note that means nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drydock import postgres, redis_client
from drydock.files import write_atomic

if TYPE_CHECKING:
    from pathlib import Path

    from drydock.environment import Environment
    from drydock.settings import Settings

FILE = "redis-is-stale"
_OID = "SELECT oid FROM pg_database WHERE datname = %s"


def owed(settings: Settings) -> bool:
    """True where a flush may be owed."""
    return _path(settings).exists()


def owe(settings: Settings, incarnation: int, database: str = "") -> None:
    """Note that Redis is to be flushed once this incarnation of the cluster is the environment's.

    Args:
        settings: of the environment.
        incarnation: that will be live.
        database: the object identifier of the one that will have the application's name by then; empty: any.
    """
    write_atomic(_path(settings), f"{incarnation} {database}\n")


def owe_with(environment: Environment, connection: postgres.Connection, coming: str) -> None:
    """Note that Redis is to be flushed once the database that is called `coming` has the application's name."""
    owe(environment.settings, environment.state.incarnation, _identifier(connection, coming))


def pay(environment: Environment) -> bool:
    """Flush Redis where what that was owed for has come about, and forget it; True where it was flushed.

    Raises:
        NotReadyError: where Redis does not answer; it stays owed.
    """
    if not owed(environment.settings):
        return False
    incarnation, _, database = _path(environment.settings).read_text(encoding="utf-8").strip().partition(" ")
    due = incarnation == str(environment.state.incarnation)
    if due and database:
        with postgres.administer(environment) as connection:
            due = database == _identifier(connection, environment.settings.database)
    if due:
        flush(environment)
    forget(environment.settings)
    return due


def flush(environment: Environment) -> None:
    """Flush Redis: nothing is owed any more.

    Raises:
        NotReadyError: where Redis does not answer; it stays owed.
    """
    redis_client.flush(environment)
    forget(environment.settings)


def forget(settings: Settings) -> None:
    """Nothing is owed: Redis holds what belongs to the data."""
    _path(settings).unlink(missing_ok=True)


def _identifier(connection: postgres.Connection, database: str) -> str:
    (found,) = connection.execute(_OID, (database,)).fetchone() or ("none",)
    return str(found)


def _path(settings: Settings) -> Path:
    return settings.folder / FILE
