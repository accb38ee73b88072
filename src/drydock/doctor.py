"""`invoke doctor`: every question worth asking when something is odd, each with its fix. Changes nothing."""

from __future__ import annotations

import shutil
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import psycopg

from drydock import migrate, ports, postgres, readiness, revisions
from drydock.checks import Check, Status
from drydock.environment import Environment, open_existing
from drydock.errors import DrydockError, word
from drydock.files import others_can_read
from drydock.settings import load, read_dotenv, variables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from drydock.settings import Settings

LITTLE, TOO_LITTLE = 2 << 30, 256 << 20  # bytes: a large seed with its index needs about the first
CLOCK = 2.0  # seconds: beyond this, "ten minutes ago" and TLS begin to disagree


def examine() -> list[Check]:
    """Every check that makes sense in the present state; a failing one never hides those after it."""
    try:
        settings = load()
    except DrydockError as error:
        return [Check("settings:values", Status.FAIL, error.message, error.hint)]
    found = [Check("settings:values", Status.PASS, f"APP_ENV={settings.app_env}"), *_files(settings), _disk(settings)]
    try:
        environment = open_existing(settings.root)
    except DrydockError as error:
        return [*found, Check("environment:exists", Status.WARN, error.message, error.hint), *_engines()]
    found += _guarded("engine:answers", environment.engine.checks)
    found += _ports(environment)
    found += _guarded("backup:schedule", lambda: _backups(environment))
    found += _guarded("archive:process", lambda: _archive(environment))
    ready = readiness.checks(environment)
    return [*found, *ready, *(_servers(environment) if ready[0].passed else []), *_migrations(environment)]


def _guarded(name: str, ask: Callable[[], list[Check]]) -> list[Check]:
    try:
        return ask()
    except (DrydockError, psycopg.Error, OSError) as error:
        message = error.message if isinstance(error, DrydockError) else str(error).strip().splitlines()[-1]
        hint = error.hint if isinstance(error, DrydockError) else "invoke up"
        return [Check(name, Status.FAIL, message, hint)]


def _files(settings: Settings) -> Iterator[Check]:
    if not settings.dotenv.exists():
        yield Check("files:.env", Status.WARN, "there is no .env yet", "invoke up")
        return
    secrets = settings.folder / "secrets"
    for path in (settings.dotenv, *(sorted(secrets.iterdir()) if secrets.is_dir() else ())):
        if others_can_read(path):
            yield Check("files:modes", Status.WARN, f"other users can read {path}", f"chmod 600 {word(path)}")
    unknown = sorted(name for name in read_dotenv(settings.dotenv) if _misspelt(name))
    for name in unknown:
        yield Check(
            "settings:names",
            Status.WARN,
            f".env sets {name}, which nothing reads",
            "Check its spelling against .env.example.",
        )
    yield Check("files:.env", Status.PASS, f"mode {settings.dotenv.stat().st_mode & 0o777:04o}")


def _misspelt(name: str) -> bool:
    """True for a name that is nearly one of ours: a project's own variables are none of our business."""
    import difflib

    return name not in variables() and bool(difflib.get_close_matches(name, variables(), n=1, cutoff=0.85))


def _disk(settings: Settings) -> Check:
    free = shutil.disk_usage(settings.root).free
    detail = f"{free / 1e9:.1f} GB free at {settings.root}"
    status = Status.FAIL if free < TOO_LITTLE else Status.WARN if free < LITTLE else Status.PASS
    return Check(
        "disk:free",
        status,
        detail,
        "Make room: docker system df, du -sh backups .drydock" if status is not Status.PASS else "",
    )


def _engines() -> Iterator[Check]:
    """Which engines a first `up` could take."""
    from drydock.engine.choice import problems

    for name, problem in problems().items():
        yield Check(f"engine:{name}", Status.WARN if problem else Status.PASS, problem or "usable")


def _ports(environment: Environment) -> Iterator[Check]:
    states = {}
    try:
        states = environment.engine.inspect()
    except DrydockError as error:
        yield Check("engine:services", Status.FAIL, error.message, error.hint)
    for service, state in states.items():
        port = getattr(environment.state, f"{service}_port")
        if state.running:
            health = f", {state.health}" if state.health else ""
            bad = state.health == "unhealthy"
            yield Check(
                f"{service}:runs",
                Status.FAIL if bad else Status.PASS,
                f"{state.detail} on port {port}{health}",
                f"invoke logs --service {service}",
            )
        elif ports.is_free(port):
            yield Check(f"{service}:runs", Status.FAIL, f"{state.status}; port {port} is free", "invoke up")
        else:
            taken = ports.taken_error(environment, service, port)
            yield Check(f"{service}:port", Status.FAIL, taken.message, taken.hint)


def _servers(environment: Environment) -> list[Check]:
    return _guarded("postgres:details", lambda: list(_details(environment)))


def _backups(environment: Environment) -> list[Check]:
    from drydock.backup.scheduling import automation, freshness

    now = datetime.now(UTC)
    kept = automation.inspect(environment)
    return [
        *([kept] if kept else []),
        freshness.check(environment.settings, now) or freshness.advice(environment.settings, now),
    ]


def _archive(environment: Environment) -> list[Check]:
    from drydock.recovery.upkeep import overview

    return overview.examine(environment)


_OUTDATED = """
SELECT e.extname, a.default_version, e.extversion
FROM pg_extension e JOIN pg_available_extensions a ON a.name = e.extname
WHERE a.default_version <> e.extversion
"""


def _details(environment: Environment) -> Iterator[Check]:
    database = environment.settings.database
    with postgres.administer(environment, database) as connection:
        yield _clock(connection)
        for name, brings, installed in connection.execute(_OUTDATED):
            detail = f"{installed} is installed, the server brings {brings}"
            yield Check(f"postgres:{name}", Status.WARN, detail, f"ALTER EXTENSION {name} UPDATE, as the superuser")
        yield _collations(connection)


def _clock(connection: postgres.Connection) -> Check:
    """Host and server compared at the middle of the round trip, so that a slow answer is no skew."""
    before = time.time()
    row = connection.execute("SELECT extract(epoch FROM clock_timestamp())").fetchone()
    after = time.time()
    assert row is not None
    skew = float(str(row[0])) - (before + after) / 2
    status = Status.WARN if abs(skew) > CLOCK else Status.PASS
    now = datetime.fromtimestamp(after, UTC).strftime("%H:%M:%S UTC")
    detail = f"server {skew:+.3f} s against the host ({now})"
    return Check("clock:skew", status, detail, "Restart Docker's virtual machine.")


def _collations(connection: postgres.Connection) -> Check:
    """An image with another C library sorts text differently, and indexes lie (manual: ALTER DATABASE … REFRESH)."""
    query = "SELECT datname FROM pg_database WHERE datcollversion <> pg_database_collation_actual_version(oid)"
    names = ", ".join(str(name) for (name,) in connection.execute(query))
    if not names:
        return Check("postgres:collation", Status.PASS, "as when the databases were made")
    fix = "REINDEX DATABASE, then ALTER DATABASE … REFRESH COLLATION VERSION"
    return Check("postgres:collation", Status.WARN, f"the C library of {names} has changed", fix)


def _migrations(environment: Environment) -> list[Check]:
    if not environment.settings.project.alembic:
        return []
    return _guarded("schema:files", lambda: list(_history(environment)))


def _history(environment: Environment) -> Iterator[Check]:
    from drydock import migration_files

    heads = revisions.heads(environment)
    if len(heads) > 1:
        yield Check(
            "schema:heads",
            Status.FAIL,
            f"{len(heads)} heads: {', '.join(heads)}",
            'invoke migrate.new --merge -m "merge"',
        )
        return
    yield Check("schema:heads", Status.PASS, ", ".join(heads) or "no migrations")
    if sorted(migrate.current(environment)) != sorted(heads):
        return
    differences = migration_files.drift(environment)
    status = Status.WARN if differences else Status.PASS
    detail = "; ".join(differences) or "models and database agree"
    yield Check("schema:drift", status, detail, "invoke migrate.new -m 'what changed'")
