"""Databases to try something in: of a random name, and dropped by the next one where their maker was killed."""

from __future__ import annotations

import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING

from drydock import postgres, template

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drydock.environment import Environment

MARK = "__try_"


@contextmanager
def database(environment: Environment) -> Iterator[str]:
    """The name of a database that does not exist yet; whatever was created under it is dropped at the end."""
    name = f"{environment.settings.database}{MARK}{secrets.token_hex(4)}"
    with postgres.administer(environment) as connection:
        clear(environment, connection)
        # Held by the session: a killed task's locks go with its connection (manual 13.3.5).
        connection.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", (name,))
        try:
            yield name
        finally:
            template.drop(connection, name)


def clear(environment: Environment, connection: postgres.Connection) -> list[str]:
    """Drop the scratch databases that nobody holds any more; returns their names."""
    rows = connection.execute(
        "SELECT datname FROM pg_database WHERE starts_with(datname, %s)", (environment.settings.database + MARK,)
    ).fetchall()
    dropped = []
    for (name,) in rows:
        (free,) = connection.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", (name,)).fetchone() or (0,)
        if free:
            template.drop(connection, str(name))
            connection.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", (name,))
            dropped.append(str(name))
    return dropped
