"""What a database holds, in a form that two databases can be compared by: rows, checksums, sequences, definitions."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from psycopg import sql

from drydock.backup import wording
from drydock.backup.manifest import TableContent
from drydock.backup.table_names import former, join

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from drydock.postgres import Connection

    Position = tuple[int, bool]

_Found = TypeVar("_Found")

INVALID = " (invalid)"  # what definitions.sql adds to such an index
# Their text is kept as it was written, but for what a function's arguments are by default.
_VERBATIM = ("function ", "large object ", "extension ", "event trigger ")

# How values become text must not depend on who asks: checksums of some types are taken of the text.
_SESSION = (
    "SET search_path = pg_catalog",
    "SET timezone = 'UTC'",
    "SET datestyle = 'ISO, YMD'",
    "SET intervalstyle = 'postgres'",
    "SET extra_float_digits = 1",
    "SET bytea_output = 'hex'",
    "SET xmlbinary = 'base64'",
    "SET statement_timeout = 0",
    "SET idle_in_transaction_session_timeout = 0",
    "SET row_security = off",
    "SET quote_all_identifiers = off",
    "SET standard_conforming_strings = on",
    # As the database has its text, whatever PGCLIENTENCODING, the role or the database ask for.
    "SELECT set_config('client_encoding', current_setting('server_encoding'), false)",
)
_RELATIONS = """SELECT c.oid::int8, n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ({}) AND n.nspname NOT IN ('pg_catalog', 'information_schema')
      AND n.nspname !~ '^pg_(toast|temp)'
      AND NOT EXISTS (SELECT FROM pg_depend d
                      WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
    ORDER BY 2, 3"""
_TABLES, _VIEWS, _SEQUENCES = (_RELATIONS.format(kind) for kind in ("'r'", "'m'", "'S'"))
# The binary form of a value (its type's send function) is the same everywhere, but for what holds object ids: composite
# types, arrays of types that are not built in, and the reg* types; the latter two in arrays and domains as well.
_COLUMNS = """SELECT a.attname, CASE WHEN t.typsend = 0 OR t.typtype = 'c' OR EXISTS (
        WITH RECURSIVE inside(type) AS (
            SELECT t.oid
            UNION SELECT CASE x.typtype WHEN 'd' THEN x.typbasetype ELSE x.typelem END
            FROM inside JOIN pg_type x ON x.oid = inside.type WHERE x.typtype = 'd' OR x.typcategory = 'A')
        SELECT FROM inside JOIN pg_type x ON x.oid = inside.type
        WHERE x.typname LIKE 'reg%%' OR x.typcategory = 'A' AND x.typtype = 'b' AND x.typelem >= 16384) THEN NULL
        ELSE (SELECT format('%%I.%%I', n.nspname, p.proname)
              FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
              WHERE p.oid = t.typsend) END
    FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
    WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attname"""


@dataclass(frozen=True)
class Contents:
    """What a database holds.

    Attributes:
        tables: rows and checksum by qualified name. Materialized views are none: what they hold is as old as their last
            refresh, and a restore refreshes them.
        sequences: each sequence's position: the last value, and whether it was handed out.
        definitions: each schema object as the server words it, by kind and name.
    """

    tables: dict[str, TableContent] = field(default_factory=dict)
    sequences: dict[str, Position] = field(default_factory=dict)
    definitions: dict[str, str] = field(default_factory=dict)


def prepare(connection: Connection) -> None:
    """Make the session word values and definitions as every other one that is compared with it."""
    for statement in _SESSION:
        connection.execute(statement.encode())


def take(
    connection: Connection, *, only: Iterable[str] | None = None, progress: Callable[[str], None] | None = None
) -> Contents:
    """Everything, read in the connection's transaction; the session must be prepared.

    Args:
        connection: of a role that sees all rows.
        only: the tables to count and sum up, by qualified name; all by default.
        progress: called with each table's name once it is summed up.
    """
    return Contents(tables(connection, only, progress), sequences(connection), definitions(connection))


def tables(
    connection: Connection, only: Iterable[str] | None = None, progress: Callable[[str], None] | None = None
) -> dict[str, TableContent]:
    """Rows and checksum of each table: the sum of a 64-bit hash of every row, so that their order does not matter."""
    wanted = None if only is None else set(only)
    result = {}
    for oid, schema, name in connection.execute(_TABLES.encode()).fetchall():
        qualified = join(str(schema), str(name))
        if wanted is not None and wanted.isdisjoint((qualified, former(qualified))):
            continue
        result[qualified] = _table(connection, oid, str(schema), str(name))
        if progress:
            progress(qualified)
    return result


def sequences(connection: Connection) -> dict[str, Position]:
    """Each sequence's last value, and whether it was handed out. No snapshot holds a sequence still (manual 9.17)."""
    found = {}
    for _, schema, name in connection.execute(_SEQUENCES.encode()).fetchall():
        query = sql.SQL("SELECT last_value, is_called FROM {}").format(sql.Identifier(str(schema), str(name)))
        row: Any = connection.execute(query).fetchone()
        found[join(str(schema), str(name))] = (int(row[0]), bool(row[1]))
    return found


def definitions(connection: Connection) -> dict[str, str]:
    """Each schema object as the server words it, by kind and name."""
    query = Path(__file__).with_name("definitions.sql").read_bytes()
    return {f"{kind} {name}": str(definition) for kind, name, definition in connection.execute(query)}


def table_names(connection: Connection) -> list[str]:
    """The qualified names of all tables with rows of their own; what is partitioned has none."""
    return [join(str(schema), str(name)) for _, schema, name in connection.execute(_TABLES.encode())]


def view_names(connection: Connection) -> set[str]:
    """The qualified names of all materialized views."""
    return {join(str(schema), str(name)) for _, schema, name in connection.execute(_VIEWS.encode())}


def differences(expected: Contents, found: Contents, *, low: dict[str, Position] | None = None) -> list[str]:
    """What differs, a clause each; empty where the two databases hold the same.

    `low` are the positions of the expected sequences before the dump; those of `expected` are from after it. A restored
    sequence must stand between the two, for those who use it do not wait for a dump.
    """
    positions = _by_either_name(found.sequences)
    lines = [*_table_differences(expected.tables, _by_either_name(found.tables))]
    for name, high in expected.sequences.items():
        bounds = sorted((high, (low or {}).get(name, high)))
        position = positions.get(name)
        if position is None or not bounds[0] <= position <= bounds[1]:
            lines.append(f"sequence {name} stands at {position and position[0]} instead of {high[0]}")
    for name in sorted(expected.definitions.keys() | found.definitions.keys()):
        ours, theirs = expected.definitions.get(name), found.definitions.get(name)
        if theirs is None and ours is not None and _is_invalid_index(name, ours):
            continue
        if ours is None or theirs is None:
            lines.append(f"{name} {'is missing' if theirs is None else 'is new'}")
        elif not wording.alike(ours, theirs, exact=name.startswith(_VERBATIM)):
            lines.append(f"{name} differs")
    return lines


def _is_invalid_index(name: str, definition: str) -> bool:
    """True for what CREATE INDEX CONCURRENTLY left when it failed, which pg_dump leaves out (getIndexes, pg_dump.c)."""
    return name.startswith("index ") and definition.endswith(INVALID)


def _table_differences(expected: dict[str, TableContent], found: dict[str, TableContent]) -> Iterable[str]:
    for name, table in expected.items():
        other = found.get(name)
        if other is None:
            yield f"table {name} is missing"
        elif other.rows != table.rows:
            yield f"table {name} has {other.rows:,} rows instead of {table.rows:,}"
        elif other.checksum != table.checksum:
            yield f"table {name} has other content in its {table.rows:,} rows"


def _by_either_name(found: Mapping[str, _Found]) -> dict[str, _Found]:
    """What was found, to be looked up by the names that backups of an earlier drydock have as well."""
    return {former(name): one for name, one in found.items()} | {**found}


def _table(connection: Connection, oid: object, schema: str, name: str) -> TableContent:
    parts = [
        sql.SQL("{}({})").format(sql.SQL(send), sql.Identifier(column))
        if send
        # Not a cast, which may be a function of whoever made the type: concat() asks a type's output function alone.
        else sql.SQL("textsend(CASE WHEN num_nulls({0}) = 0 THEN concat({0}) END)").format(sql.Identifier(column))
        for column, send in _columns(connection, oid)
    ]
    # A record's hash is linear in those of its columns (hash_record_extended: 31 times what came before plus the next),
    # so that the sum of them would not see two rows exchange a value. Hashed once more it does.
    query = sql.SQL(
        "SELECT count(*), coalesce(sum(hashint8extended(hash_record_extended(row({}), 0), 0)), 0)::text FROM ONLY {}"
    ).format(sql.SQL(", ").join(parts), sql.Identifier(schema, name))
    row: Any = connection.execute(query).fetchone()
    return TableContent(rows=int(row[0]), checksum=str(row[1]))


def _columns(connection: Connection, oid: object) -> list[tuple[str, str]]:
    return [(str(name), str(send or "")) for name, send in connection.execute(_COLUMNS.encode(), (oid,))]
