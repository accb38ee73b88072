"""What is attached to a database itself and not in it: its settings, its comment, and who else may use it.

Neither a dump nor a clone takes that along. It belongs to the name in this environment rather than to the rows, so that
what takes the place of a database gets it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import sql

from drydock import postgres
from drydock.errors import DrydockError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drydock.environment import Environment
    from drydock.postgres import Connection

# But what drydock notes of a single database there (way_back/changes.py).
_SETTINGS = """SELECT rolname, split_part(line, '=', 1), substr(line, strpos(line, '=') + 1)
    FROM pg_database AS d JOIN pg_db_role_setting AS s ON s.setdatabase = d.oid
         LEFT JOIN pg_roles AS r ON r.oid = s.setrole, unnest(s.setconfig) WITH ORDINALITY AS u(line, n)
    WHERE datname = %s AND NOT starts_with(line, 'drydock.') ORDER BY s.setrole, n"""
_DATABASE = "SELECT shobj_description(oid, 'pg_database'), datconnlimit FROM pg_database WHERE datname = %s"
# None to PUBLIC: the databases of an environment are closed to it.
_GRANTS = """SELECT rolname, privilege_type, is_grantable
    FROM pg_database, aclexplode(datacl) AS acl JOIN pg_roles AS r ON r.oid = acl.grantee
    WHERE datname = %s AND rolname <> ALL (%s)"""
# Settings whose value is a list that the catalogue has quoted already (GUC_LIST_QUOTE in guc_tables.c).
_LISTS = ("search_path", "temp_tablespaces", "local_preload_libraries", "session_preload_libraries")
_LISTED = re.compile(r'"((?:[^"]|"")*)"|([^\s,"]+)')


@dataclass(frozen=True)
class Setting:
    """One setting of a database: whose (None: everybody's), and its value, or each name where that is a list."""

    role: str | None
    name: str
    values: tuple[str, ...]

    def statement(self, database: sql.Identifier) -> sql.Composed:
        """The statement that gives it to another database."""
        who = sql.SQL("ALTER DATABASE {}").format(database)
        if self.role is not None:
            who = sql.SQL("ALTER ROLE {} IN DATABASE {}").format(sql.Identifier(self.role), database)
        values = sql.SQL(", ").join(map(sql.Literal, self.values))
        return sql.SQL("{} SET {} TO {}").format(who, sql.Identifier(*self.name.split(".")), values)


def carry_over(environment: Environment, connection: Connection, coming: str) -> None:
    """Give `coming` what is attached to the application's database, whose place it is about to take.

    Args:
        environment: whose database. What its own roles may do there is the same in each of its databases.
        connection: as a superuser.
        coming: has none of it yet.

    Raises:
        DrydockError: where a setting would not come out as it is; nothing is changed then.
    """
    live, target = environment.settings.database, sql.Identifier(coming)
    found = settings(connection, live)
    statements = [
        *(setting.statement(target) for setting in found),
        *_properties(connection, live, target),
        *_grants(environment, connection, target),
    ]
    if not statements:
        return
    with connection.transaction():
        postgres.sign(connection, "restore")
        for statement in statements:
            connection.execute(statement)
        differing = set(found) ^ set(settings(connection, coming))
        if differing:
            names = ", ".join(sorted({setting.name for setting in differing}))
            raise DrydockError(
                f"The settings of the database {live} cannot be carried over as they are: {names}.",
                hint=f"Look at them with \\drds in invoke psql; ALTER DATABASE {live} RESET takes one away.",
            )


def settings(connection: Connection, database: str) -> list[Setting]:
    """The settings of a database, of all its sessions and of single roles."""
    rows = connection.execute(_SETTINGS, (database,)).fetchall()
    return [
        Setting(None if role is None else str(role), str(name), _values(str(name), str(value)))
        for role, name, value in rows
    ]


def _values(name: str, value: str) -> tuple[str, ...]:
    if name not in _LISTS:
        return (value,)
    # As the server reads them: what is not quoted in lower case.
    names = (plain.lower() or quoted.replace('""', '"') for quoted, plain in _LISTED.findall(value))
    return tuple(names) or ("",)


def _properties(connection: Connection, live: str, target: sql.Identifier) -> Iterator[sql.Composed]:
    comment, limit = connection.execute(_DATABASE, (live,)).fetchone() or (None, -1)
    if comment is not None:
        yield sql.SQL("COMMENT ON DATABASE {} IS {}").format(target, sql.Literal(comment))
    if limit != -1:
        yield sql.SQL("ALTER DATABASE {} CONNECTION LIMIT {}").format(target, sql.Literal(limit))


def _grants(environment: Environment, connection: Connection, target: sql.Identifier) -> Iterator[sql.Composed]:
    own = (environment.owner, environment.app, environment.backup, environment.replication, environment.superuser)
    rows = connection.execute(_GRANTS, (environment.settings.database, [role.name for role in own])).fetchall()
    for role, right, grantable in rows:
        yield sql.SQL("GRANT {} ON DATABASE {} TO {}{}").format(
            sql.SQL(str(right)),
            target,
            sql.Identifier(str(role)),
            sql.SQL(" WITH GRANT OPTION" if grantable else ""),
        )
