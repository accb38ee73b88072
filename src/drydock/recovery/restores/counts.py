"""How many rows each table has, now and at the moment that was gone back to."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from drydock import postgres
from drydock.backup import table_names
from drydock.errors import DrydockError

if TYPE_CHECKING:
    from drydock.engine import Beside
    from drydock.environment import Environment

    Counts = dict[str, int]

PATIENCE = "500ms"
# Unlogged tables are empty after a recovery, and cannot be read in one (manual 27.4.1).
_TABLES = """FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND n.nspname NOT IN ('pg_catalog', 'information_schema')
    ORDER BY n.nspname, c.relname"""
_NAMES = f"SELECT json_build_array(n.nspname, c.relname) {_TABLES}"
# Each row is a query.
_QUERIES = f"""SELECT format('SELECT json_build_array(%1$L, %2$L, count(*)) FROM ONLY %1$I.%2$I', n.nspname, c.relname)
    {_TABLES}"""  # noqa: S608 - constants
# First whether the database is there and open; then every name, and what could be counted.
_THEN = f"""SELECT coalesce(bool_or(datallowconn), false) AS open, count(*) = 1 AND NOT bool_or(datallowconn) AS closed
    FROM pg_database WHERE datname = :'database' \\gset
\\echo :open :closed
\\if :open
    \\connect :"database"
    SET lock_timeout = '{PATIENCE}';
    \\set ON_ERROR_STOP off
    {_NAMES};
    {_QUERIES} \\gexec
\\endif
"""  # noqa: S608 - constants


@dataclass(frozen=True)
class Then:
    """What could be counted of a moment.

    Attributes:
        rows: by table; None where there was no such database, or it was closed.
        uncounted: tables that a transaction was changing: it keeps them locked for as long as the server pauses.
        closed: whether the database was there and took no connections, as while it is replaced: a server that pauses
            cannot open it.
    """

    rows: Counts | None = None
    uncounted: list[str] = field(default_factory=list)
    closed: bool = False


def now(environment: Environment) -> Counts | None:
    """Of the application's database as it is; None where nobody answers.

    Tables that somebody keeps locked, or that are damaged, are left out: it may be they that a restore is for.
    """
    import psycopg

    found: Counts = {}
    try:
        with postgres.administer(environment, environment.settings.database) as connection:
            connection.execute(f"SET lock_timeout = '{PATIENCE}'".encode())
            for (query,) in connection.execute(_QUERIES.encode()).fetchall():
                with suppress(psycopg.Error):
                    ((counted,),) = connection.execute(str(query).encode()).fetchall()
                    schema, table, count = cast("tuple[str, str, int]", counted)
                    found[table_names.join(schema, table)] = count
    except (DrydockError, psycopg.Error):
        return None
    return found


def then(beside: Beside, volume: str, database: str) -> Then:
    """Of a database on a server that pauses."""
    state, *lines = beside.ask(volume, f"\\set database '{database}'\n{_THEN}").splitlines()
    if state != "t f":
        return Then(closed=state == "f t")
    counted = [(table_names.join(schema, table), count) for schema, table, *count in map(json.loads, lines)]
    found = {name: int(*count) for name, count in counted if count}
    return Then(found, [name for name, _ in counted if name not in found])


def changed(before: Counts | None, after: Counts | None) -> dict[str, tuple[int | None, int | None]]:
    """The tables whose number of rows differs, with both; None where there is no such table, or nobody answers."""
    ours, theirs = before or {}, after or {}
    pairs = {name: (ours.get(name), theirs.get(name)) for name in sorted(ours.keys() | theirs.keys())}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
