"""Many rows in one go: binary COPY into a temporary table, then one INSERT … SELECT.

COPY straight into a table is refused where row-level security applies (PostgreSQL manual, COPY: "use equivalent INSERT
statements instead"). The temporary table has no policies; the INSERT out of it is checked row by row like any other.
"""

from __future__ import annotations

from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

import psycopg
from pgvector.sqlalchemy import VECTOR
from psycopg.sql import SQL, Identifier
from sqlalchemy import BigInteger, Boolean, DateTime, Double, Integer, Text, Uuid, inspect
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.util import await_only

from app.db.binary_copy import Row, Stage, copy_rows, copy_rows_async, jsonb, names, vector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from sqlalchemy import Connection
    from sqlalchemy.orm import Session
    from sqlalchemy.types import TypeEngine

    from app.models.base import Base

BATCH_ROWS = 50_000
"""Rows per INSERT: what the temporary table holds at a time."""


class Column(NamedTuple):
    """How a column travels in a binary COPY.

    `announced` is the Postgres type that the values are sent as; `bytea` sends bytes as they are, for types whose
    binary form `encode` makes.
    """

    name: str
    announced: str
    encode: Callable[[Any], bytes] | None


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
    announced = {column.name: column.announced for column in columns.values()}
    return _load(session.connection(), Stage(f"bulk_{uuid4().hex[:12]}", model.__tablename__, announced), encoded)


def _load(connection: Connection, stage: Stage, rows: Iterator[Row]) -> int:
    """Bring all rows in, batch by batch."""
    columns, written = names(stage.columns), 0
    move = SQL("INSERT INTO {} ({}) SELECT {} FROM {}")
    statement = move.format(Identifier(stage.table), columns, columns, Identifier(stage.name)).as_string()
    for sent in stage.batches(connection.exec_driver_sql, partial(_send, connection, stage), rows, BATCH_ROWS):
        connection.exec_driver_sql(statement)
        written += sent
    return written


def _send(connection: Connection, stage: Stage, rows: list[Row]) -> int:
    driver = connection.connection.driver_connection
    if isinstance(driver, psycopg.AsyncConnection):
        return await_only(_send_async(driver, stage, rows))
    assert isinstance(driver, psycopg.Connection)
    with driver.cursor() as cursor:
        return copy_rows(cursor, stage.name, stage.columns, rows)


async def _send_async(driver: psycopg.AsyncConnection[Any], stage: Stage, rows: list[Row]) -> int:
    async with driver.cursor() as cursor:
        return await copy_rows_async(cursor, stage.name, stage.columns, rows)


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
