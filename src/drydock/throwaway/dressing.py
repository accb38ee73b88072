"""What CREATE DATABASE … TEMPLATE does not copy: rights on the database itself, and settings made for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from psycopg import sql

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drydock.postgres import Connection

    # The words before a database's name, and those after it.
    Part = tuple[sql.Composable, sql.Composable]

# Settings whose value is a list that the catalogue has quoted already (GUC_LIST_QUOTE in guc_tables.c).
LISTS = frozenset({"search_path", "temp_tablespaces", "session_preload_libraries", "local_preload_libraries"})

_RIGHTS = """
SELECT r.rolname, a.privilege_type, a.is_grantable
FROM pg_database d CROSS JOIN aclexplode(d.datacl) a LEFT JOIN pg_roles r ON r.oid = a.grantee
WHERE d.datname = %s
"""
_SETTINGS = """
SELECT r.rolname, split_part(c, '=', 1), substr(c, strpos(c, '=') + 1)
FROM pg_database d JOIN pg_db_role_setting s ON s.setdatabase = d.oid CROSS JOIN unnest(s.setconfig) c
LEFT JOIN pg_roles r ON r.oid = s.setrole
WHERE d.datname = %s
"""


class Dressing:
    """Statements that give a clone what its template has beside its content.

    Args:
        connection: to the templates' server; used only here.
        template: whose rights and settings.
    """

    def __init__(self, connection: Connection, template: str) -> None:
        rights = connection.execute(_RIGHTS, (template,)).fetchall()
        settings = connection.execute(_SETTINGS, (template,)).fetchall()
        self._parts = [*_grants(rights), *map(_setting, settings)]

    def statements(self, name: str) -> list[sql.Composed]:
        """The statements for the database `name`."""
        return [before + sql.Identifier(name) + after for before, after in self._parts]


def _grants(rights: list[tuple[object, ...]]) -> Iterator[Part]:
    if rights:
        yield sql.SQL("REVOKE ALL ON DATABASE "), sql.SQL(" FROM PUBLIC")
    # By role: one statement each.
    for role in dict.fromkeys((row[0], row[2]) for row in rights):
        privileges = ", ".join(str(row[1]) for row in rights if (row[0], row[2]) == role)
        name, grantable = role
        grantee = sql.Identifier(str(name)) if name else sql.SQL("PUBLIC")
        option = sql.SQL(" WITH GRANT OPTION" if grantable else "")
        # What a privilege may be called is the server's to say: these come from aclexplode.
        yield sql.SQL(f"GRANT {privileges} ON DATABASE "), sql.SQL(" TO ") + grantee + option


def _setting(row: tuple[object, ...]) -> Part:
    role, setting, value = row
    whose = sql.SQL("ALTER ROLE ") + sql.Identifier(str(role)) + sql.SQL(" IN DATABASE ")
    shown = sql.SQL(str(value)) if setting in LISTS else sql.Literal(str(value))
    name = sql.SQL(".").join(map(sql.Identifier, str(setting).split(".")))
    return (whose if role else sql.SQL("ALTER DATABASE ")), sql.SQL(" SET ") + name + sql.SQL(" TO ") + shown
