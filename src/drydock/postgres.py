"""Connections to this checkout's Postgres, the proof that it is ours, and the roles and databases on it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from drydock import rights
from drydock.checkout import HOST, SUPERUSER, Role, never_up
from drydock.errors import NotReadyError, RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from drydock.environment import Environment

    Connection = psycopg.Connection[tuple[object, ...]]

CONNECT_TIMEOUT = 5
# What a task writes is on the server's disk, and never waits for an archiver that the task is there to start.
LOCAL = "-c synchronous_commit=local"
UP = "up"
# Of logical messages with the number of a database: ours to work in from their commit on, and no longer ours alone.
ASIDE, HANDED_OVER = "drydock.aside", "drydock.handed_over"


def session_options(environment: Environment) -> str:
    """How the server is to treat a task's session, as libpq's `options`; a throwaway one waits for nobody."""
    return "" if environment.settings.throwaway else LOCAL


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
        NoEnvironmentError: where it was never started, and has no port.
    """
    if not environment.state.postgres_port:
        raise never_up()
    try:
        connection = psycopg.connect(
            host=HOST,
            port=environment.state.postgres_port,
            user=role.name,
            password=role.password,
            dbname=database or environment.settings.database,
            connect_timeout=timeout,
            application_name="drydock",
            autocommit=autocommit,
            options=session_options(environment),
        )
    except psycopg.OperationalError as error:
        raise _unreachable(environment, error) from error
    # PGDATESTYLE, the role or the database may ask for another; psycopg reads the times of ISO alone.
    if not (connection.info.parameter_status("DateStyle") or "").startswith("ISO"):
        connection.pgconn.exec_(b"SET datestyle TO 'ISO'")
    return connection


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
    port = environment.state.postgres_port
    # libpq's first line has the reason behind the address; of what follows the server's details are no guesses.
    first, *others = str(error).strip().splitlines()
    reasons = [first.rpartition(f"port {port} failed: ")[2], *(line for line in others if line.startswith("DETAIL:"))]
    reason = ". ".join(line.removeprefix("DETAIL:").strip(" .") for line in reasons)
    return NotReadyError(f"Postgres does not answer on port {port}: {reason}.", hint="invoke up")


def system_identifier(connection: Connection) -> str:
    """The cluster's identity, made by initdb and kept by physical copies (manual 9.26, Control Data Functions)."""
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

    The first call also records the cluster's system identifier. Where nothing is missing, nothing is written.
    """
    with administer(environment) as connection:
        environment.record(system_identifier=system_identifier(connection))
        _carry_out(connection, rights.missing_roles(environment, connection), UP)
        # One connection limit of a template, one of a database being swapped: both are ours alone to create.
        if not exists(connection, environment.settings.database):
            create_database(environment, connection, environment.settings.database, task=UP)
            return
    equip(environment, environment.settings.database, task=UP)


def create_database(environment: Environment, connection: Connection, database: str, *, task: str) -> None:
    """Create an empty database of the owner role, equipped; where a kill comes between, the next equip completes it."""
    create_empty(environment, connection, database)
    equip(environment, database, task=task)


def create_empty(environment: Environment, connection: Connection, database: str) -> None:
    """Create a database of the owner role with nothing in it, not even what every database of ours has.

    All but the application's are aside until they are handed over.
    """
    connection.execute(
        sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE template0 ENCODING 'UTF8'").format(
            sql.Identifier(database), sql.Identifier(environment.owner.name)
        )
    )
    if database != environment.settings.database:
        set_aside(connection, database)


def set_aside(connection: Connection, database: str) -> None:
    """Say in the WAL that a database is ours to work in, until it is handed over: `invoke history` leaves that out."""
    _emit(connection, ASIDE, database)


def hand_over(connection: Connection, database: str) -> None:
    """Say in the WAL that from the caller's commit on a database is as good as any other."""
    _emit(connection, HANDED_OVER, database)


def _emit(connection: Connection, prefix: str, database: str) -> None:
    query = "SELECT pg_logical_emit_message(true, %s, oid::text) FROM pg_database WHERE datname = %s"
    connection.execute(query, (prefix, database))


def equip(environment: Environment, database: str, *, task: str) -> None:
    """Extensions, the fact table and the application role's rights, in one transaction of `task`. Idempotent.

    Where nothing is missing, nothing is written.
    """
    with administer(environment, database) as connection:
        _carry_out(connection, rights.missing_in_database(environment, connection, database), task)


def _carry_out(connection: Connection, statements: Sequence[sql.Composed], task: str) -> None:
    """In one transaction, signed; none where there are no statements."""
    if not statements:
        return
    with connection.transaction():
        sign(connection, task)
        for statement in statements:
            connection.execute(statement)


def note(connection: Connection, name: str, value: str) -> None:
    """Record a fact in the database, inside the caller's transaction."""
    connection.execute(
        "INSERT INTO drydock.facts (name, value) VALUES (%s, %s)"
        " ON CONFLICT (name) DO UPDATE SET value = excluded.value, noted = now()",
        (name, value),
    )


def sign(connection: Connection, task: str) -> None:
    """Say in the WAL whose transaction this is (manual 9.27.6), inside the caller's: `invoke history` shows it."""
    connection.execute("SELECT pg_logical_emit_message(true, 'drydock', %s)", (signature(task),))


def signature(task: str) -> str:
    """What `sign` says."""
    return json.dumps({"task": f"invoke {task}"})


def facts(connection: Connection, names: Iterable[str] = ()) -> dict[str, str]:
    """The facts recorded in the database, or only those called `names`."""
    wanted = list(names)
    rows = connection.execute(
        "SELECT name, value FROM drydock.facts WHERE %(all)s OR name = ANY(%(wanted)s)",
        {"all": not wanted, "wanted": wanted},
    )
    return {str(name): str(value) for name, value in rows}
