"""Whether rows that were put back fit the tables that they refer to, and those that refer to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from drydock.backup.table_names import quoted
from drydock.errors import DrydockError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from drydock.postgres import Connection

# Each foreign key from or to one of the tables, or what they are partitions of, with the query that counts the rows
# which refer to nothing. A key to a partitioned table has one to each partition below it, which says nothing by itself.
# Rows are looked for as the server does (ri_triggers.c): by the key's own operators, and with ONLY, but for partitioned
# tables, which have none of their own.
_KEYS = """WITH chosen AS (
        SELECT t::oid AS relation FROM unnest(%(tables)s::regclass[]) t
        UNION SELECT a::oid FROM unnest(%(tables)s::regclass[]) t, pg_partition_ancestors(t) a),
    relations AS (
        SELECT oid, CASE relkind WHEN 'p' THEN '' ELSE 'ONLY ' END || oid::regclass AS rows FROM pg_class)
    SELECT c.conname, c.conrelid::regclass::text, c.confrelid::regclass::text, c.convalidated,
        format('SELECT count(*) FROM %%s c WHERE %%s AND NOT EXISTS (SELECT FROM %%s p WHERE %%s)',
               child.rows, pairs.given, parent.rows, pairs.alike)
    FROM pg_constraint c LEFT JOIN pg_constraint above ON above.oid = c.conparentid
    JOIN relations child ON child.oid = c.conrelid JOIN relations parent ON parent.oid = c.confrelid
    CROSS JOIN LATERAL (
        SELECT string_agg(format('c.%%I IS NOT NULL', mine.attname), ' AND ') AS given,
            string_agg(format('p.%%I OPERATOR(%%I.%%s) c.%%I', theirs.attname, n.nspname, o.oprname, mine.attname),
                       ' AND ') AS alike
        FROM unnest(c.conkey, c.confkey, c.conpfeqop) k(mine, theirs, operator)
        JOIN pg_attribute mine ON mine.attrelid = c.conrelid AND mine.attnum = k.mine
        JOIN pg_attribute theirs ON theirs.attrelid = c.confrelid AND theirs.attnum = k.theirs
        JOIN pg_operator o ON o.oid = k.operator JOIN pg_namespace n ON n.oid = o.oprnamespace) pairs
    WHERE c.contype = 'f' AND above.conrelid IS DISTINCT FROM c.conrelid
    AND (c.conrelid IN (TABLE chosen) OR c.confrelid IN (TABLE chosen))"""


@dataclass(frozen=True)
class ForeignKey:
    """One from or to a table whose rows are replaced.

    Attributes:
        name: of the constraint.
        child: the table that refers, as in SQL.
        parent: the table that is referred to, as in SQL.
        valid: whether the server has ever checked all rows.
        query: counts the rows that break it.
    """

    name: str
    child: str
    parent: str
    valid: bool
    query: str

    def broken_by(self, connection: Connection) -> int:
        """How many rows refer to one that is not there."""
        row: Any = connection.execute(self.query.encode()).fetchone()
        return int(row[0])


def allowed(connection: Connection, tables: Sequence[str]) -> dict[ForeignKey, int]:
    """The foreign keys around these tables, with how many rows may break each: those that do now, of NOT VALID ones."""
    rows: list[Any] = connection.execute(_KEYS, {"tables": [quoted(table) for table in tables]}).fetchall()
    return {key: 0 if key.valid else key.broken_by(connection) for key in (ForeignKey(*row) for row in rows)}


def refuse_more(connection: Connection, before: Mapping[ForeignKey, int], beside: str) -> None:
    """Stop where more rows than `before` refer to one that is not there; `beside` as in `tables.replace`.

    Raises:
        DrydockError: naming the foreign keys and how many rows break them.
    """
    if clauses := list(_clauses(connection, before)):
        raise DrydockError(
            f"These tables do not fit the others as they are now: {'; '.join(clauses)}.",
            hint=f"Name the other tables too (--table), or restore beside: {beside}.",
        )


def _clauses(connection: Connection, before: Mapping[ForeignKey, int]) -> Iterator[str]:
    for key, earlier in before.items():
        count = key.broken_by(connection)
        if count > earlier:
            rows = "1 row" if count == 1 else f"{count:,} rows"
            child, parent = (table.removeprefix("public.") for table in (key.child, key.parent))
            now = f", {earlier:,} {'does' if earlier == 1 else 'do'} now" if earlier else ""
            yield f"{rows} of {child} would refer to no row of {parent} ({key.name}){now}"
