"""Many rows in one go: binary COPY into a temporary table, then one INSERT … SELECT.

COPY straight into a table is refused where row-level security applies (PostgreSQL manual, COPY: "use equivalent INSERT
statements instead"). The temporary table has no policies; the INSERT out of it is checked row by row like any other.
"""

from __future__ import annotations

import json
from itertools import chain, islice
from struct import pack
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

import psycopg
from pgvector.sqlalchemy import VECTOR
from psycopg.sql import Identifier
from sqlalchemy import BigInteger, Boolean, DateTime, Double, Integer, Text, Uuid, inspect
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.util import await_only

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from sqlalchemy import Connection
    from sqlalchemy.orm import Session
    from sqlalchemy.types import TypeEngine

    from app.models.base import Base

Row = tuple[Any, ...]

BATCH_ROWS = 50_000
"""Rows per INSERT: what the temporary table holds at a time."""
JSONB_VERSION = b"\x01"


class Column(NamedTuple):
    """How a column travels in a binary COPY.

    `announced` is the Postgres type that the values are sent as; `bytea` sends bytes as they are, for types whose
    binary form `encode` makes.
    """

    name: str
    announced: str
    encode: Callable[[Any], bytes] | None


def jsonb(value: object) -> bytes:
    """A jsonb value in binary form: a version byte, then the text."""
    return JSONB_VERSION + json.dumps(value, sort_keys=True).encode()


def vector(values: Sequence[float]) -> bytes:
    """A pgvector `vector` in binary form: its dimensions, a reserved word, then big-endian float32 values."""
    return pack(f">HH{len(values)}f", len(values), 0, *values)


_PLAIN: dict[type[TypeEngine[Any]], str] = {
    Uuid: "uuid",
    Text: "text",
    BigInteger: "int8",
    Integer: "int4",
    Boolean: "bool",
    Double: "float8",
    DateTime: "timestamptz",
}
_MADE_HERE: dict[type[TypeEngine[Any]], Callable[[Any], bytes]] = {JSONB: jsonb, VECTOR: vector}


def insert(session: Session, model: type[Base], rows: Iterable[Mapping[str, Any]]) -> int:
    """Insert rows in the session's transaction; returns how many.

    Works in a synchronous session, and inside `AsyncSession.run_sync`.

    Args:
        session: what it holds is flushed first, so that the rows may refer to it.
        model: whose columns have types that this module can encode.
        rows: values by attribute; every row has the attributes of the first. What is left out gets its default.

    Raises:
        TypeError: a column has a type that cannot be encoded.
        ValueError: a row names an attribute that the model does not have, or others than the first row.
        psycopg.DataError: a value does not fit its column.
        sqlalchemy.exc.DBAPIError: as for any INSERT: policies and constraints are checked.
    """
    rows = iter(rows)
    first = next(rows, None)
    if first is None:
        return 0
    session.flush()
    columns = _columns(model, first)
    encoded = (_encode(columns, row) for row in chain([first], rows))
    return _Load(session.connection(), model.__tablename__, list(columns.values())).run(encoded)


class _Load:
    """One insertion: the temporary table, and what is repeated for each batch."""

    def __init__(self, connection: Connection, table: str, columns: Sequence[Column]) -> None:
        self._connection = connection
        self._types = [column.announced for column in columns]
        self._table, self._stage = _quoted(table), _quoted(f"bulk_{uuid4().hex[:12]}")
        self._names = ", ".join(_quoted(column.name) for column in columns)

    def run(self, rows: Iterator[Row]) -> int:
        """Bring all rows in, batch by batch."""
        execute, written = self._connection.exec_driver_sql, 0
        columns = f"SELECT {self._names} FROM"
        execute(f"CREATE TEMPORARY TABLE {self._stage} ON COMMIT DROP AS {columns} {self._table} WITH NO DATA")
        while batch := list(islice(rows, BATCH_ROWS)):
            self._copy(batch)
            execute(f"INSERT INTO {self._table} ({self._names}) {columns} {self._stage}")
            execute(f"TRUNCATE {self._stage}")
            written += len(batch)
        execute(f"DROP TABLE {self._stage}")
        return written

    def _copy(self, rows: list[Row]) -> None:
        driver = self._connection.connection.driver_connection
        statement = f"COPY {self._stage} ({self._names}) FROM STDIN (FORMAT BINARY)".encode()
        if isinstance(driver, psycopg.AsyncConnection):
            await_only(self._copy_async(driver, statement, rows))
            return
        assert isinstance(driver, psycopg.Connection)
        with driver.cursor() as cursor, cursor.copy(statement) as copy:
            copy.set_types(self._types)
            for row in rows:
                copy.write_row(row)

    async def _copy_async(self, driver: psycopg.AsyncConnection[Any], statement: bytes, rows: list[Row]) -> None:
        async with driver.cursor() as cursor, cursor.copy(statement) as copy:
            copy.set_types(self._types)
            for row in rows:
                await copy.write_row(row)


def _quoted(name: str) -> str:
    return Identifier(name).as_string()


def _columns(model: type[Base], row: Mapping[str, Any]) -> dict[str, Column]:
    """How each of the row's attributes travels."""
    known = inspect(model).columns
    unknown = sorted(name for name in row if name not in known)
    if unknown:
        raise ValueError(f"{model.__name__} has no {', '.join(unknown)}.")
    return {name: _column(known[name].name, known[name].type) for name in row}


def _column(name: str, kind: TypeEngine[Any]) -> Column:
    for known, encode in _MADE_HERE.items():
        if isinstance(kind, known):
            return Column(name, "bytea", encode)
    for known, announced in _PLAIN.items():
        if isinstance(kind, known):
            return Column(name, announced, None)
    raise TypeError(f"Column {name} is {kind!r}, which {__name__} cannot encode.")


def _encode(columns: Mapping[str, Column], row: Mapping[str, Any]) -> Row:
    if row.keys() != columns.keys():
        raise ValueError(f"Every row needs what the first has, {', '.join(columns)}; one has {', '.join(row)}.")
    return tuple(
        [
            value if (value := row[name]) is None or column.encode is None else column.encode(value)
            for name, column in columns.items()
        ]
    )
