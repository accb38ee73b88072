"""Connections to this checkout's Postgres, the proof that it is ours, and the roles and databases on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from drydock.checkout import HOST, SUPERUSER, Role
from drydock.errors import NotReadyError, RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from drydock.environment import Environment

    Connection = psycopg.Connection[tuple[object, ...]]

CONNECT_TIMEOUT = 5


def connect(
    environment: Environment, role: Role, database: str = "", *, autocommit: bool = True, timeout: int = CONNECT_TIMEOUT
) -> Connection:
    """A connection to this checkout's Postgres.

    Args:
        environment: says where it is.
        role: whom to connect as.
        database: the application's by default.
        autocommit: off for work in one transaction.
        timeout: seconds for the connection to come about.

    Raises:
        NotReadyError: where it does not answer or refuses.
    """
    try:
        return psycopg.connect(
            host=HOST,
            port=environment.state.postgres_port,
            user=role.name,
            password=role.password,
            dbname=database or environment.settings.database,
            connect_timeout=timeout,
            application_name="drydock",
            autocommit=autocommit,
        )
    except psycopg.OperationalError as error:
        raise _unreachable(environment, error) from error


def administer(environment: Environment, database: str = SUPERUSER) -> Connection:
    """A superuser's connection to a server proven to be ours, for work that changes databases and roles.

    Raises:
        NotReadyError: where the server does not answer.
        RefusedError: where it is not the one this checkout created.
    """
    connection = connect(environment, environment.superuser, database)
    try:
        prove_ours(environment, connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _unreachable(environment: Environment, error: psycopg.Error) -> NotReadyError:
    """The sentence for a connection that did not come about."""
    if "password authentication failed" in str(error):
        return NotReadyError(
            f"The Postgres on port {environment.state.postgres_port} refuses the passwords in .env.",
            hint="Put back the passwords this environment was created with; `invoke doctor` says who listens there.",
        )
    reason = str(error).strip().splitlines()[-1].strip().rstrip(".")
    return NotReadyError(
        f"Postgres does not answer on port {environment.state.postgres_port}: {reason}.", hint="invoke up"
    )


def system_identifier(connection: Connection) -> str:
    """The cluster's identity, made by initdb and kept by physical copies (manual 9.27.9)."""
    row = connection.execute("SELECT system_identifier::text FROM pg_control_system()").fetchone()
    assert row is not None
    return str(row[0])


def prove_ours(environment: Environment, connection: Connection) -> None:
    """Compare the connected server's system identifier with the recorded one.

    Raises:
        RefusedError: where they differ: another server listens on our port.
    """
    recorded = environment.state.system_identifier
    if recorded and system_identifier(connection) != recorded:
        raise RefusedError(
            f"The Postgres on port {environment.state.postgres_port} is not the one this checkout created.",
            hint="invoke doctor says who listens there; set POSTGRES_PORT in .env to move ours.",
        )


def exists(connection: Connection, database: str) -> bool:
    """True where the server has the database."""
    return connection.execute("SELECT FROM pg_database WHERE datname = %s", (database,)).rowcount > 0


def bootstrap(environment: Environment) -> None:
    """Give a ready server what every task relies on: the roles and the application's database. Idempotent.

    The first call also records the cluster's system identifier.
    """
    with administer(environment) as connection:
        environment.record(system_identifier=system_identifier(connection))
        for role in (environment.owner, environment.app):
            _ensure_role(connection, role)
        # Row-level security binds a dump too: as the owner it fails, as any other role it is silently short.
        _ensure_role(connection, environment.backup, "BYPASSRLS")
        backup = sql.Identifier(environment.backup.name)
        connection.execute(sql.SQL("GRANT pg_read_all_data TO {}").format(backup))
        # That covers tables and sequences but no large objects; this does, for this role's sessions (manual 20.13.1).
        connection.execute(sql.SQL("ALTER ROLE {} SET lo_compat_privileges = on").format(backup))
        # One connection limit of a template, one of a database being swapped: both are ours alone to create.
        if not exists(connection, environment.settings.database):
            create_database(environment, connection, environment.settings.database)
            return
    equip(environment, environment.settings.database)


def create_database(environment: Environment, connection: Connection, database: str) -> None:
    """Create an empty database of the owner role, equipped; where a kill comes between, the next equip completes it."""
    create_empty(environment, connection, database)
    equip(environment, database)


def create_empty(environment: Environment, connection: Connection, database: str) -> None:
    """Create a database of the owner role with nothing in it, not even what every database of ours has."""
    connection.execute(
        sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE template0 ENCODING 'UTF8'").format(
            sql.Identifier(database), sql.Identifier(environment.owner.name)
        )
    )


def equip(environment: Environment, database: str) -> None:
    """Extensions, the fact table and the application role's rights, in one transaction. Idempotent.

    Extensions are the superuser's to create: vector is not marked trusted (its control file).
    """
    names = {
        "owner": sql.Identifier(environment.owner.name),
        "app": sql.Identifier(environment.app.name),
        "backup": sql.Identifier(environment.backup.name),
        "database": sql.Identifier(database),
    }
    with administer(environment, database) as connection, connection.transaction():
        for extension in environment.settings.project.extensions:
            connection.execute(sql.SQL("CREATE EXTENSION IF NOT EXISTS {}").format(sql.Identifier(extension)))
        for statement in _RIGHTS:
            connection.execute(sql.SQL(statement).format(**names))


# What survives with the data (a clone or a dump takes it along) is recorded in the database, not in .drydock.
_RIGHTS = (
    "REVOKE ALL ON DATABASE {database} FROM PUBLIC",
    "GRANT CONNECT, TEMPORARY ON DATABASE {database} TO {app}",
    "GRANT CONNECT ON DATABASE {database} TO {backup}",
    "ALTER SCHEMA public OWNER TO {owner}",
    "GRANT USAGE ON SCHEMA public TO {app}",
    "CREATE SCHEMA IF NOT EXISTS drydock AUTHORIZATION {owner}",
    """CREATE TABLE IF NOT EXISTS drydock.facts
       (name text PRIMARY KEY, value text NOT NULL, noted timestamptz NOT NULL DEFAULT now())""",
    "ALTER TABLE drydock.facts OWNER TO {owner}",
    "GRANT USAGE ON SCHEMA drydock TO {app}",
    "GRANT SELECT ON drydock.facts TO {app}",
    """ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA public
       GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {app}""",
    "ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA public GRANT USAGE, SELECT ON SEQUENCES TO {app}",
)


def note(connection: Connection, name: str, value: str) -> None:
    """Record a fact in the database, inside the caller's transaction."""
    connection.execute(
        "INSERT INTO drydock.facts (name, value) VALUES (%s, %s)"
        " ON CONFLICT (name) DO UPDATE SET value = excluded.value, noted = now()",
        (name, value),
    )


def facts(connection: Connection, names: Iterable[str] = ()) -> dict[str, str]:
    """The facts recorded in the database, or only those called `names`."""
    wanted = list(names)
    rows = connection.execute(
        "SELECT name, value FROM drydock.facts WHERE %(all)s OR name = ANY(%(wanted)s)",
        {"all": not wanted, "wanted": wanted},
    )
    return {str(name): str(value) for name, value in rows}


def _ensure_role(connection: Connection, role: Role, row_security: str = "NOBYPASSRLS") -> None:
    known = connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (role.name,)).rowcount > 0
    verb = sql.SQL("ALTER ROLE" if known else "CREATE ROLE")
    # A verifier, computed here: the password itself never stands in a statement or in the server's log.
    verifier = connection.pgconn.encrypt_password(role.password.encode(), role.name.encode(), b"scram-sha-256").decode()
    connection.execute(
        sql.SQL("{} {} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION {} PASSWORD {}").format(
            verb, sql.Identifier(role.name), sql.SQL(row_security), sql.Literal(verifier)
        )
    )
