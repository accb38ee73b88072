"""What CREATE DATABASE … TEMPLATE does not copy: rights on the database itself, and settings made for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from psycopg import sql

from drydock import attached

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drydock.postgres import Connection

    # The words before a database's name, and those after it.
    Part = tuple[sql.Composable, sql.Composable]

_RIGHTS = """
SELECT r.rolname, a.privilege_type, a.is_grantable
FROM pg_database d CROSS JOIN aclexplode(d.datacl) a LEFT JOIN pg_roles r ON r.oid = a.grantee
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
        self._grants = list(_grants(rights))
        self._settings = attached.settings(connection, template)

    def statements(self, name: str) -> list[sql.Composed]:
        """The statements for the database `name`."""
        database = sql.Identifier(name)
        return [
            *(before + database + after for before, after in self._grants),
            *(setting.statement(database) for setting in self._settings),
        ]


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
