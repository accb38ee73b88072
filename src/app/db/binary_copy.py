"""Rows by binary COPY over psycopg's own connection: what `insert_many` and the seeds share.

Nothing here imports SQLAlchemy: seeding runs within `invoke up`, gets a psycopg connection and makes values that are
encoded already, so models and sessions would cost it their import and give it nothing. `app.db.bulk` adds what a
session needs.
"""

from __future__ import annotations

import json
from itertools import islice
from struct import pack
from typing import TYPE_CHECKING, Any

from psycopg.sql import SQL, Identifier

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from psycopg import AsyncCursor, Cursor
    from psycopg.sql import Composed

Row = tuple[Any, ...]
JSONB_VERSION = b"\x01"


def jsonb(value: object) -> bytes:
    """A jsonb value in binary form: a version byte, then the text."""
    return JSONB_VERSION + json.dumps(value, sort_keys=True).encode()


def vector_header(dimensions: int) -> bytes:
    """What stands before the big-endian float32 values of a pgvector `vector` in binary form."""
    return pack(">HH", dimensions, 0)


def vector(values: Sequence[float]) -> bytes:
    """A pgvector `vector` in binary form: its dimensions, a reserved word, then big-endian float32 values."""
    return vector_header(len(values)) + pack(f">{len(values)}f", *values)


def names(columns: Iterable[str], alias: str = "") -> Composed:
    """Column names as a list, those of an alias where one is given."""
    return SQL(", ").join(Identifier(alias, column) if alias else Identifier(column) for column in columns)


def copy_rows(cursor: Cursor[Any], target: str, columns: Mapping[str, str], rows: Iterable[Row]) -> int:
    """Send rows to a table; returns how many.

    Args:
        cursor: in whose transaction.
        target: the table.
        columns: each column with the Postgres type its values are sent as, in the order of a row. `bytea` sends bytes
            as they are: a value that is already in its type's binary form.
        rows: read one at a time, as they are sent.
    """
    done = 0
    with cursor.copy(_copy_statement(target, columns)) as copy:
        copy.set_types(list(columns.values()))
        for row in rows:
            copy.write_row(row)
            done += 1
    return done


async def copy_rows_async(
    cursor: AsyncCursor[Any], target: str, columns: Mapping[str, str], rows: Iterable[Row]
) -> int:
    """The same over an asynchronous connection."""
    done = 0
    async with cursor.copy(_copy_statement(target, columns)) as copy:
        copy.set_types(list(columns.values()))
        for row in rows:
            await copy.write_row(row)
            done += 1
    return done


def _copy_statement(target: str, columns: Mapping[str, str]) -> Composed:
    return SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(Identifier(target), names(columns))


class Stage:
    """A temporary table through which rows go into another one, a batch at a time.

    It has no policies and no constraints but the columns' types; it is gone by the end of the transaction.

    Args:
        name: of the temporary table.
        table: where the rows go.
        columns: as `copy_rows` takes them.
    """

    def __init__(self, name: str, table: str, columns: Mapping[str, str]) -> None:
        self.name = name
        self.table = table
        self.columns = columns

    def batches(
        self, execute: Callable[[str], object], send: Callable[[list[Row]], object], rows: Iterator[Row], size: int
    ) -> Iterator[int]:
        """Fill the stage again and again; the caller takes each batch out with a statement of its own.

        Args:
            execute: runs a statement in the transaction.
            send: copies rows into the stage.
            rows: all of them; a batch is read before it is sent, so that reading may use the connection, and may fail.
            size: rows per batch.

        Yields:
            How many rows the stage holds.
        """
        stage = Identifier(self.name)
        make = SQL("CREATE TEMPORARY TABLE {} ON COMMIT DROP AS SELECT {} FROM {} WITH NO DATA")
        execute(make.format(stage, names(self.columns), Identifier(self.table)).as_string())
        while batch := list(islice(rows, size)):
            send(batch)
            yield len(batch)
            execute(SQL("TRUNCATE {}").format(stage).as_string())
        execute(SQL("DROP TABLE {}").format(stage).as_string())
