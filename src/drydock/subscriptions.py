"""Logical subscriptions: in a database that is to go, for the server drops none that has one, and on servers beside."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

if TYPE_CHECKING:
    from drydock.postgres import Connection

# For a server that is made of another's files: its enabled subscriptions would take from their publishers' slots what
# is meant for the other one. Without workers none is applied, and nothing is written into it (manual 20.6.4).
NOBODY_SUBSCRIBES = "max_logical_replication_workers=0"
# Which databases have any is told in all of them; only inside of a database can its own be dropped.
_NAMES = "SELECT subname FROM pg_subscription JOIN pg_database ON pg_database.oid = subdbid WHERE datname = %s"
# The slot on the other server is nobody's business here: another database may use it, or that server be out of reach.
_DROP = ("ALTER SUBSCRIPTION {} DISABLE", "ALTER SUBSCRIPTION {} SET (slot_name = NONE)", "DROP SUBSCRIPTION {}")


def drop(connection: Connection, database: str) -> None:
    """Drop the subscriptions of a database, which is opened for that; those who are subscribed to are not told.

    Args:
        connection: as a superuser, to another database of the server.
        database: may have none, and need not exist.
    """
    names = [sql.Identifier(str(name)) for (name,) in connection.execute(_NAMES, (database,)).fetchall()]
    if not names:
        return
    connection.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(sql.Identifier(database)))
    given = connection.info
    with psycopg.connect(given.dsn, password=given.password, dbname=database, autocommit=True) as inside:
        for name in names:
            for statement in _DROP:
                inside.execute(sql.SQL(statement).format(name))
