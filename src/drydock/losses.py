"""Migrations that lose data: told from the SQL they are about to run, and stopped unless their author said so.

A revision says so by a variable of its module, `destroys = "what is lost, and why that is right"`. What is inside a
DO block, a function or a statement of another library than SQLAlchemy is not seen.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from drydock.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Connection

MARK = "destroys"

_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
_NAME = r'(?:"[^"]+"|\w+)(?:\.(?:"[^"]+"|\w+))?'
_TABLE = rf"(?:IF\s+EXISTS\s+)?(?:ONLY\s+)?(?P<table>{_NAME})"
_DROP_TABLE = re.compile(rf"\bDROP\s+TABLE\s+(?:IF\s+EXISTS\s+)?(?P<tables>{_NAME}(?:\s*,\s*{_NAME})*)", re.IGNORECASE)
_EMPTIED = re.compile(rf"\b(?P<verb>TRUNCATE(?:\s+TABLE)?|DELETE\s+FROM)\s+{_TABLE}", re.IGNORECASE)
_ALTERED = re.compile(rf"\bALTER\s+TABLE\s+{_TABLE}\s+(?P<actions>[^;]*)", re.IGNORECASE)
# What stands behind ALTER COLUMN x drops no column.
_ALTER_COLUMN = re.compile(rf"\bALTER\s+(?:COLUMN\s+)?{_NAME}\s+DROP\b", re.IGNORECASE)
_DROP_COLUMN = re.compile(rf"\bDROP\s+(?!CONSTRAINT\b)(?:COLUMN\s+)?(?:IF\s+EXISTS\s+)?({_NAME})", re.IGNORECASE)
_CHANGE_TYPE = re.compile(
    rf"\bALTER\s+(?:COLUMN\s+)?({_NAME})\s+(?:SET\s+DATA\s+)?TYPE\s+((?:(?!\b(?:USING|COLLATE)\b)[\w ]|\([\d, ]+\))+)",
    re.IGNORECASE,
)
# Types that hold every value of another, by the names that format_type gives them.
_WIDER = {
    "text": {"character varying", "character", "uuid", "citext"},
    "character varying": {"character"},
    "bigint": {"integer", "smallint"},
    "integer": {"smallint"},
    "numeric": {"bigint", "integer", "smallint"},
    "double precision": {"real"},
    "jsonb": {"json"},
}
_TYPES = """
    SELECT format_type(atttypid, atttypmod), format_type(to_regtype(:new), NULL)
    FROM pg_attribute WHERE attrelid = to_regclass(:table) AND attname = :column
"""
# By its size: row-level security hides rows from the owner too, and counting takes its time. Space that deleted rows
# left counts as rows; a table that never had any takes none.
_HOLDS_ROWS = """
    SELECT coalesce(pg_relation_size(found) > 0
        OR EXISTS (SELECT FROM pg_partition_tree(found) WHERE pg_relation_size(relid) > 0), false)
    FROM to_regclass(:table) AS found
"""


@contextmanager
def guarded(running: Callable[[], Any], *, version_table: str, allowed: bool) -> Iterator[None]:
    """Stop every statement of the body that would lose data.

    Args:
        running: gives the script of the migration that runs, if one does.
        version_table: Alembic's own, in which rows come and go.
        allowed: the user accepts losses: nothing is stopped.

    Raises:
        RefusedError: naming the migration, what it would lose and how to go on; its transaction is rolled back.
    """
    from sqlalchemy import Engine, event

    def look(connection: Connection, _cursor: Any, statement: str, *_others: Any) -> None:
        script = running()
        if allowed or script is None or getattr(script.module, MARK, None):
            return
        for table, loss in losses(connection, statement):
            if table.rpartition(".")[2].strip('"') != version_table:
                raise RefusedError(
                    f"Migration {script.revision} ({script.doc}) would lose data: it {loss}. Nothing of it was kept.",
                    hint=f'If that is right, say so in its file: {MARK} = "what is lost, and why that is right";'
                    " or accept it once: invoke migrate --allow-data-loss",
                )

    event.listen(Engine, "before_cursor_execute", look)
    try:
        yield
    finally:
        event.remove(Engine, "before_cursor_execute", look)


def losses(connection: Connection, statement: str) -> Iterator[tuple[str, str]]:
    """Each table of which a statement would lose data, with a clause that says what; tables without rows lose none."""
    text = _COMMENT.sub(" ", statement)
    for table, loss in _suspected(connection, text):
        if _ask(connection, _HOLDS_ROWS, table=table)[0]:
            yield table, loss


def _suspected(connection: Connection, text: str) -> Iterator[tuple[str, str]]:
    for match in _DROP_TABLE.finditer(text):
        for table in (name.strip() for name in match["tables"].split(",")):
            yield table, f"drops the table {table}"
    for match in _EMPTIED.finditer(text):
        yield match["table"], f"deletes rows of {match['table']}"
    for match in _ALTERED.finditer(text):
        table, actions = match["table"], match["actions"]
        for column in _DROP_COLUMN.finditer(_ALTER_COLUMN.sub(" ", actions)):
            yield table, f"drops the column {table}.{column[1]}"
        for change in _CHANGE_TYPE.finditer(actions):
            old, kind = _ask(connection, _TYPES, table=table, column=change[1].strip('"'), new=change[2].strip())
            if old and not widens(old, kind or "", change[2]):
                yield table, f"changes {table}.{change[1]} from {old} to {change[2].strip()}"


def widens(old: str, kind: str, new: str) -> bool:
    """True where every value of the type `old` is one of `new`, whose name without a size is `kind`."""
    size_old, size_new = _size(old), _size(new)
    plain = re.sub(r"\(.*?\)", "", old)
    roomy = not size_new or (kind != "numeric" and 0 < size_old <= size_new)
    return roomy and (kind == plain or plain in _WIDER.get(kind, ()))


def _size(kind: str) -> int:
    """The number in brackets behind a type's name; 0 without one."""
    found = re.search(r"\((\d+)", kind)
    return int(found[1]) if found else 0


def _ask(connection: Connection, query: str, **values: str) -> tuple[Any, ...]:
    from sqlalchemy import text

    row = connection.execute(text(query), values).first()
    return (None, None) if row is None else tuple(row)
