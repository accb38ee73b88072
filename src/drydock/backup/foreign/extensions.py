"""Extensions that a stranger's dump names: created by the superuser, but never among the stranger's own things."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

if TYPE_CHECKING:
    from drydock.postgres import Connection

# An extension's script runs as the superuser and finds functions and operators by name: with some of the stranger's in
# reach it could be made to call those (manual 38.17.6.2). Schemas alone are nothing that could be called.
_STRANGERS_THINGS = """
SELECT FROM pg_shdepend d JOIN pg_roles r ON r.oid = d.refobjid
WHERE d.refclassid = 'pg_authid'::regclass AND d.deptype = 'o' AND d.classid <> 'pg_namespace'::regclass
  AND d.dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND r.rolname = %s LIMIT 1
"""
_INSTALLED = """
SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = %s
"""


class Extensions:
    """Creates extensions in one database.

    Args:
        superuser: a session in it.
        guest: the role that the dump is loaded as.
    """

    def __init__(self, superuser: Connection, guest: str) -> None:
        self._superuser = superuser
        self._guest = guest
        # The dump's own session may hold what this one would wait for, and both are driven by one thread.
        superuser.execute("SET lock_timeout = '5s'")
        superuser.execute("SET search_path = pg_catalog")

    def create(self, connection: Connection, name: str, schema: str = "public") -> bool:
        """Have the extension in the schema; False where it cannot be had.

        After the stranger's first object its own session has to do it, which the server allows for trusted ones.
        """
        installed = self._superuser.execute(_INSTALLED, (name,)).fetchone()
        if installed == (schema,):
            return True
        verb = "ALTER EXTENSION {} SET SCHEMA {}" if installed else "CREATE EXTENSION {} SCHEMA {}"
        among = self._superuser.execute(_STRANGERS_THINGS, (self._guest,)).rowcount > 0
        try:
            (connection if among else self._superuser).execute(
                sql.SQL(verb).format(sql.Identifier(name), sql.Identifier(schema))
            )
        except psycopg.Error:
            # Installed elsewhere, it is there all the same: what names it by another schema will say so itself.
            return installed is not None
        return True
