"""Ready means usable: the checks of a running environment, and the wait until they pass."""

from __future__ import annotations

import json
import socket
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from drydock import lost_database, redis_client, revisions, wire
from drydock.checkout import HOST
from drydock.checks import Check, Status
from drydock.engine import POSTGRES, REDIS
from drydock.errors import DrydockError, NotReadyError, RefusedError
from drydock.recovery.archive import progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from drydock.checkout import Role
    from drydock.engine import ServiceState
    from drydock.environment import Environment

FIRST_POLL, LAST_POLL, BACK_OFF = 0.05, 0.4, 1.15
PROBE_TIMEOUT = 2
LOG_LINES = 12

_IDENTIFIER = "SELECT system_identifier::text FROM pg_control_system()"
# Asked as the application role: who the server is, what is installed, whether drydock noted facts in the database.
_FACTS = """
SELECT (SELECT system_identifier::text FROM pg_control_system()),
       current_setting('server_version'),
       (SELECT json_object_agg(extname, extversion) FROM pg_extension),
       to_regclass('{table}') IS NOT NULL,
       to_regclass('drydock.facts') IS NOT NULL,
       {archive}
"""
_REVISIONS = "SELECT version_num FROM {table} ORDER BY 1"
_SEEDED = "SELECT value FROM drydock.facts WHERE name = 'seeded'"


def postgres_up(environment: Environment) -> Check:
    """The server takes TCP connections and answers a query as the superuser: before there is a database of ours."""
    role = environment.superuser
    return _timed("postgres:up", lambda: _query(environment, role, role.name))


def redis_ready(environment: Environment) -> Check:
    """Redis answers PONG and has loaded its data."""
    return _timed("redis:ping", lambda: _ping(environment))


def checks(environment: Environment) -> list[Check]:
    """Every answer that `ready` stands for, each on its own, in the order in which they depend on each other."""
    port = environment.state.postgres_port
    inside = list(_inside(environment))
    if inside[0].passed:
        # The query came over TCP: knocking once more would only cost the server a process.
        tcp = Check("postgres:tcp", Status.PASS, f"{HOST}:{port}")
    else:
        tcp = _timed("postgres:tcp", lambda: _listening(port))
    return [tcp, *(inside if tcp.passed else []), redis_ready(environment)]


def wait(environment: Environment, probes: dict[str, Callable[[Environment], Check]]) -> None:
    """Poll until every probe passes: after 50 ms first, then ever less often.

    A service that ends ends the wait at once.

    Args:
        environment: whose servers.
        probes: what to ask, by service.

    Raises:
        NotReadyError: after READY_TIMEOUT, or when a service ended, with its last log lines.
    """
    deadline, pause, pending = time.monotonic() + environment.settings.ready_timeout, FIRST_POLL, dict(probes)
    while True:
        last = {service: probe(environment) for service, probe in pending.items()}
        pending = {service: probes[service] for service, check in last.items() if not check.passed}
        if not pending:
            return
        _refuse_the_dead(environment, pending)
        if time.monotonic() > deadline:
            service = next(iter(pending))
            message = (
                f"{service} is not usable after {environment.settings.ready_timeout:.0f} s: {last[service].detail}"
            )
            raise NotReadyError(
                with_log(environment, service, message),
                hint=f"invoke logs --service {service}, or raise READY_TIMEOUT in .env",
            )
        time.sleep(pause)
        pause = min(pause * BACK_OFF, LAST_POLL)


def wait_for_servers(environment: Environment) -> None:
    """Wait until both servers take work; the application's database need not exist yet."""
    wait(environment, {POSTGRES: postgres_up, REDIS: redis_ready})


def _refuse_the_dead(environment: Environment, pending: Iterable[str]) -> None:
    states = environment.engine.inspect()
    for service in pending:
        state = states[service]
        if state.failed or state.status == "absent":
            raise NotReadyError(
                with_log(environment, service, _obituary(service, state)), hint=f"invoke logs --service {service}"
            )
        if state.status == "paused":
            raise NotReadyError(f"{service} is paused.", hint="Unpause it, or: invoke down && invoke up")


def _obituary(service: str, state: ServiceState) -> str:
    if state.status == "restarting" or state.restarts:
        return f"{service} does not stay up (started again {state.restarts} times, exit code {state.exit_code})"
    if state.status == "absent":
        return f"{service} is gone"
    return f"{service} ended" + (f" with exit code {state.exit_code}" if state.exit_code is not None else "")


def with_log(environment: Environment, service: str, message: str) -> str:
    """A sentence about a service, with the last lines of its log below."""
    lines = "\n".join(f"    {line}" for line in environment.engine.logs(service, lines=LOG_LINES))
    return f"{message}. Its last words:\n{lines}" if lines else f"{message}."


def _listening(port: int) -> str:
    with socket.create_connection((HOST, port), timeout=PROBE_TIMEOUT):
        return f"{HOST}:{port}"


def _query(environment: Environment, role: Role, database: str) -> str:
    with wire.connect(environment, role, database, timeout=PROBE_TIMEOUT) as session:
        identifier = session.query(_IDENTIFIER)[0][0]
    if environment.state.system_identifier not in {"", identifier}:
        raise RefusedError(_stranger(environment))
    return "SELECT 1"


def _ping(environment: Environment) -> str:
    with redis_client.connect(environment, timeout=PROBE_TIMEOUT) as redis:
        answer = redis.ask("PING")
        if answer != "PONG":
            raise NotReadyError(f"Redis answers {answer!r} instead of PONG.")
        if redis.info("persistence").get("loading") != "0":
            raise NotReadyError("Redis is still loading its data.")
        return f"PONG from Redis {redis.info('server').get('redis_version', '?')}"


def _inside(environment: Environment) -> Iterator[Check]:
    """The checks that one connection as the application role answers."""
    begun = time.monotonic()
    table = environment.settings.project.version_table
    try:
        with wire.connect(environment, environment.app, timeout=PROBE_TIMEOUT) as session:
            facts = _FACTS.format(table=table, archive=progress.question(environment))
            identifier, version, extensions, versioned, noted, archived = session.query(facts)[0]
            current = session.query(_REVISIONS.format(table=wire.identifier(table))) if versioned == "t" else []
            seeded = session.query(_SEEDED) if noted == "t" else []
    except (OSError, DrydockError) as error:
        told = _one_line(error)
        yield Check("postgres:query", Status.FAIL, told, _fix(environment, told), time.monotonic() - begun)
        return
    yield _identity(environment, identifier, version, time.monotonic() - begun)
    yield from _extensions(environment, json.loads(extensions or "{}"))
    yield _schema(environment, [str(row[0]) for row in current])
    yield _seeds(environment, seeded[0][0] if seeded else None)
    yield from _archive(environment, archived or "{}")


def _fix(environment: Environment, told: str) -> str:
    """A database that is gone is one that an archive may have."""
    missing = f'database "{environment.settings.database}" does not exist' in told
    return lost_database.WAY_BACK if missing and lost_database.kept(environment) else "invoke up"


def _stranger(environment: Environment) -> str:
    return f"the Postgres on port {environment.state.postgres_port} is not the one this checkout created"


def _identity(environment: Environment, identifier: str | None, version: str | None, seconds: float) -> Check:
    if environment.state.system_identifier not in {"", identifier}:
        return Check("postgres:query", Status.FAIL, _stranger(environment), "invoke doctor", seconds)
    return Check("postgres:query", Status.PASS, f"PostgreSQL {version} answers {environment.app.name}", seconds=seconds)


def _extensions(environment: Environment, installed: Any) -> Iterator[Check]:
    for name in environment.settings.project.extensions:
        if name in installed:
            yield Check(f"postgres:{name}", Status.PASS, installed[name])
        else:
            yield Check(f"postgres:{name}", Status.FAIL, f"extension {name} is not installed", "invoke up")


def _schema(environment: Environment, current: list[str]) -> Check:
    wanted = revisions.heads(environment)
    if sorted(current) == sorted(wanted):
        return Check("schema:head", Status.PASS, ", ".join(current) or "no migrations")
    detail = f"at {', '.join(current) or 'nothing'}, the migrations end at {', '.join(wanted) or 'nothing'}"
    return Check("schema:head", Status.FAIL, detail, "invoke migrate")


def _seeds(environment: Environment, seeded: str | None) -> Check:
    if not environment.settings.project.seeds:
        return Check("seeds:loaded", Status.PASS, "no seeds")
    if seeded:
        return Check("seeds:loaded", Status.PASS, seeded)
    return Check("seeds:loaded", Status.WARN, "never seeded", "invoke seed")


def _archive(environment: Environment, answer: str) -> Iterator[Check]:
    """Whether the WAL is received: an archiver that does not run is what `up` has to do something about."""
    if environment.settings.archiving and environment.state.part:
        yield progress.check(progress.read(environment, answer))
    elif environment.settings.archiving:
        yield progress.never_started()


def _timed(name: str, ask: Callable[[], str]) -> Check:
    begun = time.monotonic()
    try:
        check = Check(name, Status.PASS, ask())
    except (OSError, DrydockError) as error:
        check = Check(name, Status.FAIL, _one_line(error), "invoke up")
    return replace(check, seconds=time.monotonic() - begun)


def _one_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1].strip().rstrip(".")
