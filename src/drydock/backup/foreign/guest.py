"""The role that a stranger's dump is loaded as: it can do as it likes in one database, and nothing anywhere else."""

from __future__ import annotations

import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING

from psycopg import errors, sql

from drydock import postgres
from drydock.checkout import Role

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drydock.environment import Environment
    from drydock.postgres import Connection

SUFFIX = "__guest"

# A login of its own, not SET ROLE: what a script may SET it may RESET. BYPASSRLS is about rows of this database alone:
# pg_dump sets row_security off, so that a materialized view of an isolated table could not be filled otherwise.
_INVITE = (
    """ALTER ROLE {guest} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION BYPASSRLS NOINHERIT
       PASSWORD {verifier}""",
    "GRANT CONNECT, CREATE, TEMPORARY ON DATABASE {database} TO {guest}",
    # What equip put there would be in the way of a dump that brings its own; it puts it back afterwards.
    "DROP SCHEMA IF EXISTS drydock CASCADE",
    "ALTER SCHEMA public OWNER TO {guest}",
)
_DISMISS = ("REASSIGN OWNED BY {guest} TO {owner}", "DROP OWNED BY {guest}")


@contextmanager
def invited(environment: Environment, database: str) -> Iterator[Role]:
    """A role that may fill `database`; at the end all it made belongs to the environment's owner, and it is gone.

    It is a member of no role, so that neither other databases nor the server's files or settings are within its reach.
    """
    role = Role(environment.settings.database + SUFFIX, secrets.token_hex(16))
    with postgres.administer(environment, database) as connection:
        _ensure(connection, role.name)
        verifier = connection.pgconn.encrypt_password(role.password.encode(), role.name.encode(), b"scram-sha-256")
        names = {
            "guest": sql.Identifier(role.name),
            "owner": sql.Identifier(environment.owner.name),
            "database": sql.Identifier(database),
            "verifier": sql.Literal(verifier.decode()),
        }
        _execute(connection, _INVITE, names)
        try:
            yield role
        finally:
            if not connection.broken:
                _execute(connection, _DISMISS, names)
                _remove(connection, role.name)


def _execute(connection: Connection, statements: tuple[str, ...], names: dict[str, sql.Composable]) -> None:
    with connection.transaction():
        for statement in statements:
            connection.execute(sql.SQL(statement).format(**names))


def _ensure(connection: Connection, name: str) -> None:
    if connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (name,)).rowcount == 0:
        connection.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(name)))


def _remove(connection: Connection, name: str) -> None:
    """Drop the role; where a killed load left things of its in another database, it can no longer log in."""
    try:
        connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))
    except errors.DependentObjectsStillExist:
        connection.execute(sql.SQL("ALTER ROLE {} NOLOGIN").format(sql.Identifier(name)))
