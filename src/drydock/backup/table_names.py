"""The qualified name of a table as one text, such as `public.users`, and back: also where a dot is part of a name."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from psycopg import sql

if TYPE_CHECKING:
    from collections.abc import Iterator

_QUOTED_SCHEMA = re.compile(r'"((?:[^"]|"")+)"\.', re.DOTALL)
_PART = r'(?:"((?:[^"]|"")+)"|([^\W\d][\w$]*))'
_IN_SQL = re.compile(rf"\s*(?:{_PART}\s*\.\s*)?{_PART}\s*", re.DOTALL)


def join(schema: str, table: str) -> str:
    """A table's name in manifests, messages and JSON: with the schema in quotes where it would not end at its dot."""
    return ".".join((_quote(schema) if {".", '"'} & set(schema) else schema, table))


def split(name: str) -> tuple[str, str]:
    """The schema and the table that `join` made one name of."""
    if found := _QUOTED_SCHEMA.match(name):
        return found[1].replace('""', '"'), name[found.end() :]
    schema, _, table = name.partition(".")
    return schema, table


def identifier(name: str) -> sql.Identifier:
    """A qualified name, for statements."""
    return sql.Identifier(*split(name))


def quoted(name: str) -> str:
    """A qualified name as in SQL, for what takes one as text: regclass, and the patterns of pg_dump."""
    return ".".join(map(_quote, split(name)))


def former(name: str) -> str:
    """A qualified name as an earlier drydock had it, which put no schema in quotes."""
    return ".".join(split(name))


def readings(text: str) -> Iterator[str]:
    """The qualified names that somebody may mean: as `join` has them, without the schema public, or as in SQL."""
    yield text
    yield join("public", text)
    if _IN_SQL.fullmatch(text):
        yield in_sql(text)


def in_sql(text: str) -> str:
    """The qualified name of what SQL calls so; without a schema it is public's.

    Raises:
        ValueError: where it is no name in SQL.
    """
    found = _IN_SQL.fullmatch(text)
    if found is None:
        raise ValueError(text)
    return join(_meant(found[1], found[2]) or "public", _meant(found[3], found[4]))


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _meant(in_quotes: str | None, bare: str | None) -> str:
    # As the server folds: no letters but those of ASCII (manual 4.1.1).
    return in_quotes.replace('""', '"') if in_quotes else (bare or "").encode().lower().decode()
