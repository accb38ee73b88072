"""Rows of one table from one database into another, and what it means where the server refuses them there."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg
from psycopg import errors, sql

from drydock.errors import DrydockError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from drydock.postgres import Connection

# What is about values, names and rules; of the rest, such as a full disk or a lost connection, the schema is no cause.
_MISFITS = (
    psycopg.DataError,
    psycopg.IntegrityError,
    psycopg.NotSupportedError,
    psycopg.ProgrammingError,
    errors.ProgramLimitExceeded,
)


def copy(
    there: Connection, here: Connection, source: sql.Identifier, target: sql.Identifier, columns: Sequence[str]
) -> None:
    """Copy all rows; both sessions must be prepared as those whose contents are compared.

    As text: the binary form of arrays and composites has object ids of the database that it is from.
    """
    listed = sql.SQL(", ").join(map(sql.Identifier, columns))
    out = sql.SQL("COPY (SELECT {} FROM ONLY {}) TO STDOUT").format(listed, source)
    # A table may have no columns at all, and a list has to have one.
    into = sql.SQL("COPY {} {} FROM STDIN").format(target, sql.SQL("({})").format(listed) if columns else sql.SQL(""))
    with there.cursor().copy(out) as reading, here.cursor().copy(into) as writing:
        for chunk in reading:
            writing.write(chunk)


@contextmanager
def fitting(table: str, whole: str) -> Iterator[None]:
    """Around what puts the rows of a table in its place; `whole` is what to type to have everything beside instead.

    Raises:
        DrydockError: where the server refuses them, with its reason.
    """
    try:
        yield
    except _MISFITS as error:
        reason = (error.diag.message_primary or str(error)).rstrip(".")
        raise DrydockError(
            f"{table.removeprefix('public.')} does not fit the schema as it is now: {reason}.",
            hint=f"Keep all of it beside: {whole}.",
        ) from error
