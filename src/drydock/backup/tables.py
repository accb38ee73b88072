"""Bringing single tables back from a backup: into a copy of the live database, checked, and swapped in."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from dataclasses import dataclass
from dataclasses import replace as altered
from typing import TYPE_CHECKING

from psycopg import sql

from drydock import attached, postgres, template
from drydock.backup import contents, encryption, foreign_keys, load, row_copy, scratch, selection, table_names, writer
from drydock.backup.dump import CONTENTS
from drydock.backup.restore import Restored
from drydock.errors import DrydockError, RefusedError, word
from drydock.fault_points import Point, reached

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from drydock.backup.catalogue import Entry
    from drydock.backup.manifest import Manifest, TableContent
    from drydock.backup.restore import Dealings
    from drydock.backup.selection import Relations
    from drydock.environment import Environment
    from drydock.postgres import Connection

_COLUMNS = """SELECT attname, format_type(atttypid, atttypmod)
        || coalesce(' generated as ' || pg_get_expr(adbin, adrelid), ''), attgenerated <> ''
    FROM pg_attribute LEFT JOIN pg_attrdef ON attgenerated <> '' AND adrelid = attrelid AND adnum = attnum
    WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped ORDER BY attname"""
_KIND = "SELECT relkind::text FROM pg_class WHERE oid = to_regclass(%s)"
_OTHER_KINDS = {"v": "view", "m": "materialized view", "f": "foreign table", "p": "partitioned table", "S": "sequence"}
_RELATION = "relation "  # how the definitions begin that say of what kind one is
# The columns of a table that a sequence numbers, of its own or of what it is a partition of, and whether that ascends.
_NUMBERING = """SELECT a.attname, s.seqrelid::regclass::text, s.seqincrement > 0
    FROM (SELECT %(table)s::regclass UNION SELECT pg_partition_ancestors(%(table)s::regclass)) t(relation)
    JOIN pg_attribute a ON a.attrelid = t.relation AND a.attnum > 0 AND NOT a.attisdropped
    JOIN pg_sequence s ON s.seqrelid = pg_get_serial_sequence(t.relation::text, a.attname)::regclass"""
# The triggers that fire even where session_replication_role is replica (manual 20.11.1), and how each is put back.
_AWAKE = """SELECT tgname, CASE tgenabled WHEN 'A' THEN 'ENABLE ALWAYS' ELSE 'ENABLE REPLICA' END FROM pg_trigger
    WHERE tgrelid = %s::regclass AND NOT tgisinternal AND tgenabled IN ('A', 'R')"""
# The materialized views that read one of the tables: also by what it is a partition of or inherits from, or by a view.
# In the order in which they were made, so that one which reads another comes after it.
_COMPUTED = """WITH RECURSIVE readable AS (
        SELECT t::oid AS relation FROM unnest(%s::regclass[]) t
        UNION SELECT inhparent FROM readable JOIN pg_inherits ON inhrelid = relation),
    readers AS (
        SELECT relation FROM readable
        UNION SELECT r.ev_class FROM readers
        JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = relation
        JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid)
    SELECT oid::regclass::text FROM pg_class WHERE relkind = 'm' AND relispopulated AND oid IN (TABLE readers)
    ORDER BY pg_class.oid"""


@dataclass(frozen=True)
class Source:
    """The database that rows are taken from.

    Attributes:
        connect: to it, as a superuser: of any server of the same major.
        beside: what to type to have the rows beside instead, for the hints.
        whole: what to type to have everything beside that is there.
    """

    connect: Callable[[], Connection]
    beside: str
    whole: str


def restore(environment: Environment, entry: Entry, dealings: Dealings, wanted: Sequence[str]) -> Restored:
    """Replace the rows of some tables by those in a backup; everything else stays as it is now.

    The live database is closed while a copy of it is changed and checked; then the copy takes its place. So nothing
    that others write meanwhile can be lost, and the way back is the same as after every restore.

    Args:
        environment: whose database.
        entry: the backup.
        dealings: with whoever asked.
        wanted: the tables, with or without their schema; those that the backup is limited to by default.

    Raises:
        DrydockError: where a table is in neither, its columns differ, or rows would refer to rows that are not there.
    """
    manifest = load.check_files(entry, encryption.sealing(environment.settings))
    available = _available(environment, entry, manifest)
    for text in wanted:
        selection.known(text, available)
    begun = time.monotonic()
    live = environment.settings.database
    result = Restored(source=entry.name, database=live)
    with scratch.database(environment) as source:
        loaded = load.load(environment, entry, source, dealings.progress)
        result.seconds["load"] = loaded.load_seconds
        result.tables = _chosen(environment, source, wanted, available) if wanted else list(available.tables)
        dealings.report(f"{live} is closed while its copy is changed")
        wanted_contents = {name: manifest.tables[name] for name in result.tables}
        into = f"invoke restore {word(entry.name)} --into NAME"
        there = Source(lambda: postgres.administer(environment, source), into, into)
        replace(environment, there, wanted_contents, dealings.report)
    result.previous = live + template.PREVIOUS
    result.seconds["swap"] = round(time.monotonic() - begun - loaded.load_seconds, 3)
    return result


def replace(
    environment: Environment,
    source: Source,
    expected: Mapping[str, TableContent | None],
    report: Callable[[str], None],
) -> None:
    """Replace the rows of some tables in a copy of the live database, check it, and swap it in.

    Args:
        environment: whose database.
        source: the database with the rows to take.
        expected: the tables by qualified name, with what they hold there; None where that is to be found out.
        report: is told which materialized views are older than the rows now.

    Raises:
        DrydockError: where a table's columns differ, rows would refer to rows that are not there, or did not come out
            as they were; the live database is untouched then.
    """
    live = environment.settings.database
    with _copy_of_live(environment) as (connection, coming):
        views = _replace(environment, source, coming, list(expected))
        _compare(environment, source, coming, expected)
        reached(Point.RESTORE_CHECKED)
        attached.carry_over(environment, connection, coming)
        template.swap(connection, live, coming)
        reached(Point.RESTORE_SWAPPED)
    for view in views:
        report(f"{view} has what was computed of the rows before: REFRESH MATERIALIZED VIEW {view};")


def _available(environment: Environment, entry: Entry, manifest: Manifest) -> Relations:
    """What can be had of a backup, as it says itself; which partitions a table has is known once it is loaded.

    Raises:
        RefusedError: where it has no rows.
    """
    with load.unpacked(entry, manifest, CONTENTS, encryption.sealing(environment.settings)) as stream:
        definitions = json.load(stream)["definitions"]
    kinds = {
        table_names.in_sql(key.removeprefix(_RELATION)): definition.partition(" ")[0]
        for key, definition in definitions.items()
        if key.startswith(_RELATION)
    }
    views = {name for name, kind in kinds.items() if kind == "m"}  # which an earlier drydock has summed up as well
    tables = [name for name in manifest.tables_only or manifest.tables if name in manifest.tables.keys() - views]
    if manifest.schema_only or not tables:
        raise RefusedError(f"{manifest.name} holds no rows of tables.", hint="invoke backup.list")
    return selection.Relations(tables, {name: () for name, kind in kinds.items() if kind == "p"}, views)


def _chosen(environment: Environment, source: str, wanted: Sequence[str], available: Relations) -> list[str]:
    """The tables whose rows are wanted, of a backup that is loaded as `source`."""
    with (
        postgres.administer(environment, source) as there,
        postgres.administer(environment, environment.settings.database) as here,
    ):
        then = altered(selection.relations(there), tables=available.tables)
        selection.refuse_new_members(wanted, then, selection.relations(here))
    return selection.chosen(wanted, then)


@contextmanager
def _copy_of_live(environment: Environment) -> Iterator[tuple[Connection, str]]:
    """A copy of the live database, which nobody else can reach until the body has swapped it in, or failed."""
    live = environment.settings.database
    coming = live + template.COMING
    with postgres.administer(environment) as connection:
        template.heal(environment, connection)
        template.close(connection, live)
        try:
            template.clone(environment, connection, live, coming)
            yield connection, coming
        except BaseException:
            template.drop(connection, coming)
            raise
        finally:
            if postgres.exists(connection, live):
                template.admit(connection, live)
        template.drop_behind(connection, live + template.LEAVING)


def _replace(environment: Environment, source: Source, target: str, tables: list[str]) -> list[str]:
    """Copy the rows in one transaction, with triggers at rest: foreign keys are looked at afterwards, as a whole.

    Returns the materialized views that are computed from them.
    """
    with source.connect() as there, writer.session(environment, target, tables) as here:
        contents.prepare(there)
        contents.prepare(here)
        columns = {table: _columns(there, here, table, source.beside) for table in tables}
        with here.transaction():
            before = foreign_keys.allowed(here, tables)
            here.execute("SET LOCAL session_replication_role = replica")
            for table, names in columns.items():
                name = table_names.identifier(table)
                with row_copy.fitting(table, source.whole), _at_rest(here, table):
                    here.execute(sql.SQL("DELETE FROM ONLY {}").format(name))
                    row_copy.copy(there, here, name, name, names)
                    _move_sequences(here, table)
            here.execute("SET LOCAL session_replication_role = origin")
            foreign_keys.refuse_more(here, before, source.beside)
        views = here.execute(_COMPUTED, ([table_names.quoted(table) for table in tables],)).fetchall()
        return [str(view).removeprefix("public.") for (view,) in views]


@contextmanager
def _at_rest(here: Connection, table: str) -> Iterator[None]:
    """Disable the triggers of a table that would fire all the same; where the body fails its transaction ends."""
    awake = here.execute(_AWAKE, (table_names.quoted(table),)).fetchall()
    for name, _ in awake:
        _alter_trigger(here, table, "DISABLE", name)
    yield
    for name, state in awake:
        _alter_trigger(here, table, state, name)


def _alter_trigger(here: Connection, table: str, action: object, name: object) -> None:
    statement = sql.SQL("ALTER TABLE {} {} TRIGGER {}")
    here.execute(statement.format(table_names.identifier(table), sql.SQL(str(action)), sql.Identifier(str(name))))


def _columns(there: Connection, here: Connection, table: str, beside: str) -> list[str]:
    """The columns to copy: all but the generated ones, once the table proves to be what it was."""
    name, hint = (table_names.quoted(table),), f"Restore beside: {beside}."
    (kind,) = here.execute(_KIND, name).fetchone() or (None,)
    if kind in _OTHER_KINDS:
        raise DrydockError(f"{table} is a {_OTHER_KINDS[str(kind)]} in the live database.", hint=hint)
    if kind != "r":
        raise DrydockError(f"The live database has no table {table}.", hint=hint)
    theirs, ours = (
        {(str(column), str(definition)): generated for column, definition, generated in side.execute(_COLUMNS, name)}
        for side in (there, here)
    )
    if theirs != ours:
        changed = ", ".join(sorted(" ".join(column) for column in theirs.keys() ^ ours.keys()))
        raise DrydockError(f"{table} has other columns now than it had then ({changed}).", hint=hint)
    return [column for (column, _), generated in ours.items() if not generated]


def _move_sequences(here: Connection, table: str) -> None:
    """Put the sequences that number a table's rows beyond the last number there is now: the highest, or the lowest."""
    for column, sequence, ascends in here.execute(_NUMBERING, {"table": table_names.quoted(table)}).fetchall():
        end, further = ("max", "greatest") if ascends else ("min", "least")
        here.execute(
            sql.SQL("SELECT setval({}, {}({}({}), (SELECT last_value FROM {}))) FROM ONLY {}").format(
                sql.Literal(sequence),
                sql.SQL(further),
                sql.SQL(end),
                sql.Identifier(str(column)),
                sql.SQL(str(sequence)),
                table_names.identifier(table),
            )
        )


def _compare(
    environment: Environment, source: Source, database: str, expected: Mapping[str, TableContent | None]
) -> None:
    found = _contents(postgres.administer(environment, database), expected)
    unknown = [name for name, content in expected.items() if content is None]
    wanted = {**expected, **_contents(source.connect(), unknown)} if unknown else expected
    differing = [name for name in expected if found.get(name) != wanted[name]]
    if differing:
        raise DrydockError(
            f"{', '.join(differing)} did not come out as they were.", hint=f"Restore beside: {source.beside}."
        )


def _contents(connection: Connection, tables: Iterable[str]) -> dict[str, TableContent]:
    with connection:
        contents.prepare(connection)
        return contents.tables(connection, list(tables))
