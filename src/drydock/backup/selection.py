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
# Each with those below it, through all levels, that are not partitioned themselves.
_PARTITIONS = b"""SELECT n.nspname, c.relname, ln.nspname, l.relname
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN LATERAL (SELECT relid FROM pg_partition_tree(c.oid) WHERE isleaf) t ON true
    LEFT JOIN pg_class l ON l.oid = t.relid LEFT JOIN pg_namespace ln ON ln.oid = l.relnamespace
    WHERE c.relkind = 'p' ORDER BY 1, 2, 3, 4"""


@dataclass(frozen=True)
class Relations:
    """What there is to choose from, by qualified name.

    Attributes:
        tables: those with rows of their own.
        partitions: of each partitioned table, those that have its rows.
        views: materialized ones, whose rows are computed from those of tables.
    """

    tables: Sequence[str]
    partitions: Mapping[str, Sequence[str]]
    views: Collection[str]


def relations(connection: Connection) -> Relations:
    """What there is in the connected database."""
    partitions: dict[str, list[str]] = {}
    for table, partition in _pairs(connection, _PARTITIONS):
        partitions.setdefault(table, []).extend([partition] if partition else [])
    return Relations(contents.table_names(connection), partitions, contents.view_names(connection))


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
    """The tables with the rows that are wanted: of a partitioned one its partitions.

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
    everything = [*there.tables, *there.partitions]
    for candidate in readings(text):
        if candidate in everything:
            return candidate
        if candidate in there.views:
            raise RefusedError(
                f"{text} is a materialized view: its rows are computed from those of tables.",
                hint=f"Name those tables; in invoke psql, REFRESH MATERIALIZED VIEW {text} computes them again.",
            )
    near = difflib.get_close_matches(text, [table.removeprefix("public.") for table in everything], n=1)
    raise DrydockError(
        f"There is no table {text!r}.{f' Did you mean {near[0]}?' if near else ''}",
        hint="Name it as in SQL, with its schema where that is not public.",
    )


def refuse_new_partitions(wanted: Sequence[str], then: Relations, now: Relations) -> None:
    """Stop where a partitioned table that is wanted as a whole has got partitions since: their rows would stay.

    Raises:
        DrydockError: naming them.
    """
    for table in {known(text, then) for text in wanted} & then.partitions.keys():
        if new := sorted(set(now.partitions.get(table, ())) - set(then.partitions[table])):
            raise DrydockError(
                f"{table} has got partitions since ({', '.join(new)}), whose rows would stay.",
                hint="Name the partitions to bring back, or restore beside.",
            )


def _with_rows(table: str, there: Relations) -> Sequence[str]:
    """The table itself, or the partitions that have its rows."""
    if table in there.tables:
        return [table]
    partitions = there.partitions[table]
    missing = ", ".join(sorted(set(partitions) - set(there.tables)))
    if not partitions or missing:
        reason = f"there are no rows here of its partition {missing}" if missing else "it has no partitions"
        raise DrydockError(f"{table} is partitioned, and {reason}.", hint="Name the partitions that you want.")
    return partitions


def _pairs(connection: Connection, query: bytes) -> Iterator[tuple[str, str]]:
    """The qualified names of two relations in each row; the second may be none."""
    for schema, table, other_schema, other in connection.execute(query).fetchall():
        yield join(str(schema), str(table)), join(str(other_schema), str(other)) if other else ""
