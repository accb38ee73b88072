"""Single tables from an earlier moment: beside their namesakes, or in place of their rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from psycopg import sql

from drydock import postgres, template
from drydock.backup import contents, row_copy, selection, table_names
from drydock.backup import tables as in_place
from drydock.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from drydock.environment import Environment
    from drydock.postgres import Connection

_UNLOGGED = "SELECT FROM pg_class WHERE oid = %s::regclass AND relpersistence = 'u'"
SUFFIX = "_restored"
_WHOLE = "the same with --branch NAME in place of --table"  # what keeps the moment beside
LONGEST = 63  # bytes of a name (manual 4.1.1)
_COLUMNS = """SELECT attname, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute
    WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum"""
_KEY = "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = %s::regclass AND contype = 'p'"
_SCHEMA = "SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = %s"


def known_there(there: Environment, wanted: Sequence[str]) -> list[str]:
    """The qualified names of the tables with the rows that are wanted, as they were called then.

    Raises:
        DrydockError: where there was no table of such a name, or it is a materialized view.
        RefusedError: where the WAL has no rows of it.
    """
    with postgres.administer(there, there.settings.database) as connection:
        names = selection.chosen(wanted, selection.relations(connection, past=True))
        for name in names:
            _refuse_without_rows(connection, name)
    return names


def refuse_new_members(environment: Environment, there: Environment, wanted: Sequence[str]) -> None:
    """Stop where a table that is wanted has got partitions or child tables since: their rows would stay.

    Raises:
        DrydockError: naming them.
    """
    database = environment.settings.database
    with postgres.administer(there, database) as then, postgres.administer(environment, database) as now:
        selection.refuse_new_members(wanted, selection.relations(then), selection.relations(now))


def replace(
    environment: Environment, there: Environment, names: Sequence[str], report: Callable[[str], None]
) -> tuple[list[str], str]:
    """Put the rows of then in place of those of now; returns the tables, and the database that is kept.

    `report` is told which materialized views are older than the rows now.

    Raises:
        DrydockError: where columns differ, or rows would refer to rows that are not there; nothing is changed then.
    """
    database = environment.settings.database
    source = in_place.Source(
        lambda: postgres.administer(there, database),
        beside="the same without --replace",
        whole=f"{_WHOLE} and --replace",
    )
    in_place.replace(environment, source, dict.fromkeys(names), report)
    return list(names), database + template.PREVIOUS


def beside(environment: Environment, there: Environment, names: Sequence[str]) -> list[str]:
    """Bring tables back as `…_restored`, all or none: columns, rows and primary key.

    They are the owner's alone: the rules by which the application sees only some rows of a table do not come along.

    Raises:
        RefusedError: where there is a table of that name already, or two would be called the same.
    """
    _refuse_same_names(names)
    database = environment.settings.database
    with (
        postgres.administer(there, database) as then,
        postgres.administer(environment, database) as now,
        now.transaction(),
    ):
        contents.prepare(then)
        contents.prepare(now)
        brought = []
        for name in names:
            with row_copy.fitting(name, _WHOLE):
                brought.append(_bring(then, now, name, environment))
        return brought


def _refuse_without_rows(there: Connection, name: str) -> None:
    """Stop where there is nothing of a table to bring back: a recovery leaves unlogged ones empty (manual 27.4.1).

    Raises:
        RefusedError: then.
    """
    if there.execute(_UNLOGGED, (table_names.quoted(name),)).rowcount:
        shown = name.removeprefix("public.")
        raise RefusedError(
            f"{shown} was unlogged at that moment: the WAL has no rows of unlogged tables.",
            hint=f"A dump has them: invoke backup.list; invoke restore NAME --table {shown}",
        )


def _bring(then: Connection, now: Connection, name: str, environment: Environment) -> str:
    brought = _brought(name)
    source, target, quoted = table_names.identifier(name), table_names.identifier(brought), table_names.quoted(name)
    if now.execute("SELECT to_regclass(%s)", (table_names.quoted(brought),)).fetchone() != (None,):
        raise RefusedError(f"There is a table {brought} already.", hint="Drop or rename it first.")
    columns = then.execute(_COLUMNS, (quoted,)).fetchall()
    definitions = [
        sql.SQL("{} {}{}").format(
            sql.Identifier(str(column)), sql.SQL(str(kind)), sql.SQL(" NOT NULL" if required else "")
        )
        for column, kind, required in columns
    ]
    _ensure_schema(then, now, table_names.split(name)[0], environment.owner.name)
    now.execute(sql.SQL("CREATE TABLE {} ({})").format(target, sql.SQL(", ").join(definitions)))
    row_copy.copy(then, now, source, target, [str(column) for column, _, _ in columns])
    _finish(then, now, target, quoted, environment)
    return brought


def _ensure_schema(then: Connection, now: Connection, schema: str, owner: str) -> None:
    """A schema that is gone belongs to whom it belonged then, if there is such a role; the owner may use it anyway."""
    if now.execute(_SCHEMA, (schema,)).rowcount:
        return
    ((former,),) = then.execute(_SCHEMA, (schema,)).fetchall()
    known = now.execute("SELECT FROM pg_roles WHERE rolname = %s", (former,)).rowcount
    names = {
        "schema": sql.Identifier(schema),
        "role": sql.Identifier(str(former) if known else owner),
        "owner": sql.Identifier(owner),
    }
    for statement in ("CREATE SCHEMA {schema} AUTHORIZATION {role}", "GRANT USAGE ON SCHEMA {schema} TO {owner}"):
        now.execute(sql.SQL(statement).format(**names))


def _finish(then: Connection, now: Connection, target: sql.Identifier, quoted: str, environment: Environment) -> None:
    """The primary key, and the owner, once the rows are there."""
    for (key,) in then.execute(_KEY, (quoted,)):
        now.execute(sql.SQL("ALTER TABLE {} ADD {}").format(target, sql.SQL(str(key))))
    now.execute(sql.SQL("ALTER TABLE {} OWNER TO {}").format(target, sql.Identifier(environment.owner.name)))


def _refuse_same_names(names: Sequence[str]) -> None:
    """Stop where two tables would come back under one name.

    Raises:
        RefusedError: naming them.
    """
    first: dict[str, str] = {}
    for name in names:
        if (other := first.setdefault(_brought(name), name)) != name:
            raise RefusedError(
                f"{other} and {name} would both come back as {_brought(name)}: a name has at most {LONGEST} bytes.",
                hint="Bring one of them back, rename what came, and bring back the other.",
            )


def _brought(name: str) -> str:
    """The name of a table beside its namesake: cut before what says so, where it would be too long."""
    schema, table = table_names.split(name)
    return table_names.join(schema, table.encode()[: LONGEST - len(SUFFIX)].decode(errors="ignore") + SUFFIX)
