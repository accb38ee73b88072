"""Which tables a user means, and which others those cannot do without."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from drydock.backup import contents
from drydock.backup.table_names import join, readings
from drydock.errors import DrydockError, RefusedError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from drydock.postgres import Connection

_REFERENCES = b"""SELECT n.nspname, c.relname, fn.nspname, f.relname FROM pg_constraint k
    JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_class f ON f.oid = k.confrelid JOIN pg_namespace fn ON fn.oid = f.relnamespace
    WHERE k.contype = 'f'"""
# Each partitioned table with those below it, through all levels, that are not partitioned themselves; and each table
# that others inherit from with itself and those, but for temporary tables and foreign ones, whose rows are elsewhere.
_MEMBERS = b"""WITH RECURSIVE below AS (
        SELECT oid AS top, oid AS relation FROM pg_class WHERE relkind = 'r' AND NOT relispartition AND relhassubclass
        UNION SELECT top, inhrelid FROM below JOIN pg_inherits ON inhparent = relation)
    SELECT n.nspname, c.relname, mn.nspname, m.relname
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN LATERAL (
        SELECT relid AS member FROM pg_partition_tree(c.oid) WHERE c.relkind = 'p' AND isleaf
        UNION ALL SELECT b.relation FROM below b JOIN pg_class k ON k.oid = b.relation
        WHERE b.top = c.oid AND k.relkind = 'r' AND k.relpersistence <> 't') t ON true
    LEFT JOIN pg_class m ON m.oid = t.member LEFT JOIN pg_namespace mn ON mn.oid = m.relnamespace
    WHERE c.relkind = 'p' OR m.oid IS NOT NULL AND c.relpersistence <> 't' ORDER BY 1, 2, 3, 4"""


@dataclass(frozen=True)
class Relations:
    """What there is to choose from, by qualified name.

    Attributes:
        tables: those with rows of their own.
        members: of each partitioned table the partitions that have its rows; of each table that others inherit from
            itself and those.
        views: materialized ones, whose rows are computed from those of tables.
        past: whether that is of an earlier moment, for the messages.
    """

    tables: Sequence[str]
    members: Mapping[str, Sequence[str]]
    views: Collection[str]
    past: bool = False


def relations(connection: Connection, *, past: bool = False) -> Relations:
    """What there is in the connected database; `past` where that is one of an earlier moment."""
    members: dict[str, list[str]] = {}
    for table, member in _pairs(connection, _MEMBERS):
        members.setdefault(table, []).extend([member] if member else [])
    return Relations(contents.table_names(connection), members, contents.view_names(connection), past)


def with_what_they_refer_to(connection: Connection, wanted: Sequence[str], there: Relations) -> list[str]:
    """The tables wanted, with all that their foreign keys lead to: what can be restored without anything else.

    Keys to a partitioned table lead to its partitions, which have the rows.

    Raises:
        DrydockError: as `chosen`.
    """
    found = set(chosen(wanted, there))
    references = list(_pairs(connection, _REFERENCES))
    while more := {other for table, other in references if table in found} - found:
        found |= more
    return sorted(found & set(there.tables))


def chosen(wanted: Sequence[str], there: Relations) -> list[str]:
    """The tables with the rows that are wanted: of a partitioned one its partitions, and what inherits from others.

    Raises:
        DrydockError: where there is no table of such a name, or no rows of it.
    """
    names = [name for text in wanted for name in _with_rows(known(text, there), there)]
    return list(dict.fromkeys(names))


def known(text: str, there: Relations) -> str:
    """The qualified name of a table that may be given without its schema, or as in SQL.

    Raises:
        DrydockError: where there is none such, naming what is near.
    """
    everything = [*there.tables, *there.members]
    for candidate in readings(text):
        if candidate in everything:
            return candidate
        if candidate in there.views:
            raise RefusedError(
                f"{text} is a materialized view: its rows are computed from those of tables.",
                hint=f"Name those tables; in invoke psql, REFRESH MATERIALIZED VIEW {text} computes them again.",
            )
    near = difflib.get_close_matches(text, [table.removeprefix("public.") for table in everything], n=1)
    missing = f"There was no table {text} at that moment." if there.past else f"There is no table {text!r}."
    raise DrydockError(
        f"{missing}{f' Did you mean {near[0]}?' if near else ''}",
        hint="Name it as in SQL, with its schema where that is not public.",
    )


def refuse_new_members(wanted: Sequence[str], then: Relations, now: Relations) -> None:
    """Stop where a table that is wanted has got partitions or child tables since: their rows would stay.

    Raises:
        DrydockError: naming them.
    """
    for table in {known(text, then) for text in wanted}:
        if new := sorted({*now.members.get(table, ())} - {table, *then.members.get(table, ())}):
            inherited = table in now.tables
            raise DrydockError(
                f"{table} has got {'child tables' if inherited else 'partitions'} since ({', '.join(new)}),"
                " whose rows would stay.",
                hint="Restore beside." if inherited else "Name the partitions to bring back, or restore beside.",
            )


def _with_rows(table: str, there: Relations) -> Sequence[str]:
    """The table itself, or those that have its rows."""
    if table not in there.members:
        return [table]
    members, inherited = there.members[table], table in there.tables
    missing = ", ".join(sorted(set(members) - set(there.tables)))
    if missing and inherited:
        raise DrydockError(
            f"Others inherit from {table}, and there are no rows here of {missing}.",
            hint="Name the child tables that you want, or restore the backup without --table.",
        )
    if not members or missing:
        reason = f"there are no rows here of its partition {missing}" if missing else "it has no partitions"
        raise DrydockError(f"{table} is partitioned, and {reason}.", hint="Name the partitions that you want.")
    return members


def _pairs(connection: Connection, query: bytes) -> Iterator[tuple[str, str]]:
    """The qualified names of two relations in each row; the second may be none."""
    for schema, table, other_schema, other in connection.execute(query).fetchall():
        yield join(str(schema), str(table)), join(str(other_schema), str(other)) if other else ""
