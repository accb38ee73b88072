"""`up`, `down` and `destroy`: from nothing to a ready, migrated, seeded environment, and back."""

from __future__ import annotations

import importlib
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from drydock import dotenv, readiness
from drydock.checks import Check, Status, worst
from drydock.engine import configuration
from drydock.environment import Environment, open_or_create
from drydock.errors import NotReadyError, PortTakenError
from drydock.files import others_can_read
from drydock.settings import Settings, load

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drydock.backup.catalogue import Entry
    from drydock.backup.restore import Restored
    from drydock.console import Console
    from drydock.migrate import Migrated
    from drydock.seed import Seeded


@dataclass
class Up:
    """What `up` found and did."""

    environment: Environment
    changed: bool
    checks: list[Check]
    migrated: Migrated | None = None
    seeded: Seeded | None = None
    restored: Restored | None = None
    notes: list[str] = field(default_factory=list)


def prepare(settings: Settings) -> tuple[Environment, list[str]]:
    """The environment to bring up, with .env and state in place; and what the user should know."""
    notes = []
    if settings.dotenv.exists() and others_can_read(settings.dotenv):
        notes.append(f"other users can read {settings.dotenv}: chmod 600 {settings.dotenv.name}")
    wrote = dotenv.ensure(settings)
    if wrote:
        settings, notes = load(settings.root), [*notes, wrote]
    environment, note = open_or_create(settings)
    return environment, [*notes, *([note] if note else [])]


def is_up(environment: Environment) -> list[Check]:
    """All checks where the environment runs as declared and is ready; empty where `up` has something to do.

    Asks the servers only: neither Docker nor Alembic is loaded for an environment that is already up.
    """
    if not environment.state.engine or _digest(environment) != environment.state.started_with:
        return []
    if environment.settings.engine not in {"auto", environment.state.engine}:
        return []
    found = readiness.checks(environment)
    return found if worst(found) is Status.PASS else []


def bring_up(environment: Environment, console: Console, backup: Entry | None = None) -> Up:
    """Start what is not running, wait, migrate, and seed on first start. Each phase is timed on the console.

    With a `backup`, a first start restores it instead of seeding.

    Raises:
        RefusedError: where a backup is given and there is data already.
        DrydockError: naming what failed; a second call goes on from there.
    """
    _choose_engine(environment, console)
    from drydock import postgres, template

    engine = environment.engine
    with _loading_libraries(environment), console.phase("start"):
        _start(environment, console)
    with console.phase("wait until usable"):
        readiness.wait_for_servers(environment)
        with postgres.administer(environment) as connection:
            template.heal(environment, connection)
        postgres.bootstrap(environment)
    result = Up(environment, changed=True, checks=[])
    if backup:
        from drydock.backup import beginning

        result.restored = beginning.begin(environment, backup, console)
    result.migrated, result.seeded = _fill(environment, console)
    environment.record(started_with=_digest(environment), runs=engine.fingerprint())
    with console.phase("check"):
        result.checks = readiness.checks(environment)
    failed = [check for check in result.checks if not check.passed]
    if failed:
        raise NotReadyError(
            f"{engine.name} runs, but {failed[0].name} is not right: {failed[0].detail}.", hint=failed[0].fix
        )
    return result


def _choose_engine(environment: Environment, console: Console) -> None:
    from drydock.engine.choice import choose

    name, reason = choose(environment)
    if not environment.state.engine:
        console.step(f"engine: {name}, because {reason}")
    environment.record(engine=name, engine_reason=reason)


def _start(environment: Environment, console: Console) -> None:
    _assign_ports(environment, console)
    try:
        environment.engine.start(console.step)
    except PortTakenError:
        # Somebody was quicker, maybe while images were built. Ports that must not move raise the same once more.
        _assign_ports(environment, console)
        environment.engine.start(console.step)


def _assign_ports(environment: Environment, console: Console) -> None:
    from drydock import ports

    states = environment.engine.inspect()
    alive = [service for service, state in states.items() if state.status in {"running", "paused"}]
    held = {getattr(environment.state, f"{service}_port") for service in alive}
    ports.assign(environment, lambda port: port in held, console.step)


def _fill(environment: Environment, console: Console) -> tuple[Migrated, Seeded | None]:
    from drydock import migrate, postgres, seed

    with console.phase("migrate"):
        migrated = migrate.upgrade(environment)
    for step in migrated.steps:
        console.step(f"{step.revision}  {step.title}")
    with postgres.connect(environment, environment.owner) as connection:
        known = postgres.facts(connection, ["seeded"])
    if known or not environment.settings.project.seeds or environment.settings.production:
        return migrated, None
    with console.phase("seed"), console.progress("seeding") as progress:
        return migrated, seed.run(environment, size=environment.settings.seed_size, progress=progress)


@contextmanager
def _loading_libraries(environment: Environment) -> Iterator[None]:
    """Load what migrating needs beside the body, which mostly waits for other programs: it takes half a second."""

    def load_them() -> None:
        for name in (
            "alembic.command",
            "sqlalchemy.orm",
            "sqlalchemy.dialects.postgresql.psycopg",
            "pgvector.sqlalchemy",
        ):
            importlib.import_module(name)

    thread = threading.Thread(target=load_them if environment.settings.project.alembic else lambda: None)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def _digest(environment: Environment) -> str:
    settings, state = environment.settings, environment.state
    limits = (settings.postgres_memory, settings.postgres_shm, settings.redis_memory)
    ports = (settings.postgres_port or state.postgres_port, settings.redis_port or state.redis_port)
    images = (settings.postgres_image, settings.redis_image, settings.images)
    return configuration.digest(environment, *limits, *map(str, ports), *images)
