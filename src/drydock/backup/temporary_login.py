"""A login for one piece of work: of a random password, and gone at the end; the next removes what a kill left."""

from __future__ import annotations

import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING

from psycopg import errors, sql

from drydock.checkout import Role

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from drydock.postgres import Connection

# BYPASSRLS is about rows of the database that it may connect to alone.
_CREDENTIALS = """ALTER ROLE {login} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION BYPASSRLS NOINHERIT
    PASSWORD {verifier}"""
_LEAVING = ("REASSIGN OWNED BY {login} TO {owner}", "DROP OWNED BY {login}")


@contextmanager
def created(connection: Connection, name: str, owner: str, grants: Sequence[str]) -> Iterator[Role]:
    """A role that is there while the body lasts; at the end all it made belongs to `owner`, and it is gone.

    Args:
        connection: a superuser's, to the database that the work is in.
        name: of the role.
        owner: of the database.
        grants: what the role may, as statements about `{login}`, `{owner}` and `{database}`.
    """
    role = Role(name, secrets.token_hex(16))
    _ensure(connection, name)
    verifier = connection.pgconn.encrypt_password(role.password.encode(), name.encode(), b"scram-sha-256")
    names = {
        "login": sql.Identifier(name),
        "owner": sql.Identifier(owner),
        "database": sql.Identifier(connection.info.dbname),
        "verifier": sql.Literal(verifier.decode()),
    }
    _execute(connection, (_CREDENTIALS, *grants), names)
    try:
        yield role
    finally:
        if not connection.broken:
            _execute(connection, _LEAVING, names)
            _remove(connection, name)


def _execute(connection: Connection, statements: Sequence[str], names: dict[str, sql.Composable]) -> None:
    with connection.transaction():
        for statement in statements:
            connection.execute(sql.SQL(statement).format(**names))


def _ensure(connection: Connection, name: str) -> None:
    if connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (name,)).rowcount == 0:
        connection.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(name)))


def _remove(connection: Connection, name: str) -> None:
    """Drop the role; where killed work left things of its in another database, it can no longer log in."""
    try:
        connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))
    except errors.DependentObjectsStillExist:
        connection.execute(sql.SQL("ALTER ROLE {} NOLOGIN").format(sql.Identifier(name)))
