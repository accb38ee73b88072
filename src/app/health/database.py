"""Checks of Postgres: asked over a connection of their own, and what this process knows of its pool.

A connection of the pool would make a busy service look like a dead one, and take from its callers what they wait for.
"""

from __future__ import annotations

import json
import time
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg import generators, pq

from app.db.breaker import State
from app.health.check import Check, Status

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from app.db.breaker import Snapshot
    from app.db.ledger import PoolStats
    from app.health.migrations import Migrations

NAME: Final = "postgres:responseTime"
CONNECT_TIMEOUT: Final = 2
"""Seconds: the least that libpq takes; a probe's deadline is shorter."""
_FACTS: Final = b"""
SELECT json_build_object(
    'extensions', (SELECT json_object_agg(extname, extversion) FROM pg_extension),
    'versioned', to_regclass('alembic_version') IS NOT NULL)
"""
_REVISIONS: Final = b"SELECT json_agg(version_num) FROM alembic_version"
# What Postgres says of a refused login, for strangers; its own words name users, databases and addresses, and libpq
# hands on no SQLSTATE of a connection that was never made.
_REFUSALS: Final = (
    (("authentication failed", "no pg_hba.conf entry", "not permitted to log in"), "the login was refused"),
    (("does not exist",), "there is no such database or role"),
    (("too many clients", "too many connections", "connection slots are reserved"), "no connection is left"),
    (("starting up", "shutting down", "in recovery mode"), "the server is starting or stopping"),
    (("certificate", "SSL"), "TLS failed"),
)


@dataclass(frozen=True)
class DatabaseQuestion:
    """What to ask Postgres.

    Attributes:
        parameters: libpq's, for the application's role.
        extensions: those that must be there.
        migrations: of this code, where it has them along.
        timeout: seconds for all answers.
    """

    parameters: Mapping[str, Any]
    extensions: tuple[str, ...]
    migrations: Migrations | None
    timeout: float

    def __call__(self) -> list[Check]:
        """Connect, ask, disconnect."""
        begun = time.monotonic()
        try:
            facts, revisions = self._facts(begun + self.timeout)
        except psycopg.Error as error:
            late = time.monotonic() - begun >= self.timeout
            output = f"no answer within {self.timeout:g} s" if late else _reason(error)
            return [Check(name=NAME, status=Status.FAIL, output=output, cause=str(error))]
        took = round((time.monotonic() - begun) * 1000, 1)
        return [
            Check(name=NAME, value=took, unit="ms"),
            self._migration(frozenset(revisions)),
            *self._extensions(facts["extensions"] or {}),
        ]

    def _facts(self, deadline: float) -> tuple[dict[str, Any], list[str]]:
        limits = {"connect_timeout": CONNECT_TIMEOUT, "application_name": "health"}
        # Not psycopg's own context manager: on an error it would roll back, and wait for a silent server to do so.
        with closing(psycopg.connect(**{**self.parameters, **limits}, autocommit=True)) as connection:
            facts = _ask(connection, _FACTS, deadline)
            return facts, (_ask(connection, _REVISIONS, deadline) or []) if facts["versioned"] else []

    def _migration(self, current: frozenset[str]) -> Check:
        if self.migrations is None:
            return Check(name="postgres:migration", value=", ".join(sorted(current)) or None)
        return self.migrations.check(current)

    def _extensions(self, installed: Mapping[str, str]) -> Iterator[Check]:
        name = "postgres:extensionVersion"
        for extension in self.extensions:
            if extension in installed:
                yield Check(name=name, part=extension, value=installed[extension])
            else:
                yield Check(name=name, part=extension, status=Status.FAIL, output="it is not installed")


def pool_check(stats: PoolStats) -> Check:
    """This process's connections: a warning where callers wait, or one is held that should have come back."""
    details = {
        "maximum": stats.maximum,
        "size": stats.size,
        "idle": stats.idle,
        "waiting": stats.waiting,
        "overflow": stats.overflow,
        "waits": stats.waits,
        "waitSeconds": round(stats.wait_seconds, 3),
        "failures": stats.failures,
        "leaks": len(stats.leaks),
    }
    output = ""
    if stats.leaks:
        output = "connections are held for longer than DB_LEAK_AFTER; the log says where they were taken"
    elif stats.waiting:
        output = "every connection is in use and callers wait"
    status = Status.WARN if output else Status.PASS
    value, unit = stats.in_use, "connections"
    return Check(name="postgres:connections", status=status, value=value, unit=unit, output=output, details=details)


def breaker_check(snapshot: Snapshot) -> Check:
    """What this process thinks of the database: a warning while it leaves it alone, or tries it again."""
    closed = snapshot.state is State.CLOSED
    return Check(
        name="postgres:circuitBreaker",
        status=Status.PASS if closed else Status.WARN,
        value=str(snapshot.state),
        output="" if closed else f"{snapshot.failures} calls in a row failed; callers get an error or a lesser answer",
        details={
            "opened": snapshot.opened,
            "failures": snapshot.failures,
            "retryAfter": round(snapshot.retry_after, 3),
        },
    )


def _ask(connection: psycopg.Connection[Any], statement: bytes, deadline: float) -> Any:
    """One value, or an error at the deadline: psycopg's `execute` waits for a paused server without an end."""
    connection.pgconn.send_query(statement)
    timeout = max(0.0, deadline - time.monotonic())
    (result,) = connection.wait(generators.execute(connection.pgconn), timeout=timeout)
    if result.status != pq.ExecStatus.TUPLES_OK:
        raise psycopg.errors.error_from_result(result)
    return json.loads(result.get_value(0, 0) or b"null")


def _reason(error: psycopg.Error) -> str:
    """Why there was no answer, for strangers."""
    if error.sqlstate:
        return f"the server reported an error (SQLSTATE {error.sqlstate})"
    text = str(error)
    return next((said for words, said in _REFUSALS if any(word in text for word in words)), "no connection")
