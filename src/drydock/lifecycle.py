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
from drydock.errors import DrydockError, NotReadyError, PortTakenError
from drydock.files import others_can_read
from drydock.settings import Settings, load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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
    undo: str = ""
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
    from drydock.recovery.restores import unfinished

    if unfinished.exists(environment.settings) or environment.settings.engine not in {"auto", environment.state.engine}:
        return []
    found = readiness.checks(environment)
    return found if worst(found) is Status.PASS else []


def bring_up(environment: Environment, console: Console, backup: Entry | None = None) -> Up:
    """Start what is not running, wait, migrate, and seed on first start. Each phase is timed on the console.

    With a `backup`, a first start restores it instead of seeding.

    Raises:
        RefusedError: where a backup is given and there is data already; where the application's database is gone, and
            the archive has it: everything else runs then.
        DrydockError: naming what failed; a second call goes on from there.
    """
    from drydock import lost_database, stale_redis
    from drydock.recovery.upkeep import attendant

    choose_engine(environment, console.step)
    engine = environment.engine
    with _loading_libraries(environment), console.phase("start"):
        _start(environment, console.step)
    with console.phase("wait until usable"):
        there = _make_usable(environment, console.step)
        if stale_redis.pay(environment):
            console.step("Redis is flushed: what it held belonged to the data from before")
    if not there:
        with _archiving(environment, console):
            raise lost_database.refusal(environment)
    result = Up(environment, changed=True, checks=[])
    if backup:
        from drydock.backup import beginning

        result.restored = beginning.begin(environment, backup, console)
    with _archiving(environment, console) as archived:
        result.migrated, result.undo = _migrate(environment, console, archived)
        result.seeded = _seed(environment, console)
    environment.record(started_with=_digest(environment), runs=engine.fingerprint())
    attendant.spawn(environment)
    with console.phase("check"):
        result.checks = readiness.checks(environment)
    failed = [check for check in result.checks if not check.passed]
    if failed:
        raise NotReadyError(
            f"{engine.name} runs, but {failed[0].name} is not right: {failed[0].detail}.", hint=failed[0].fix
        )
    return result


def resume(environment: Environment, report: Callable[[str], None]) -> None:
    """Start both servers on what the state says now, wait until they are usable, and have them archived again.

    An archiver that does not come up is told, and stops nothing; nor does it where the application's database is gone,
    as it may be from a cluster that was kept.

    Raises:
        DrydockError: naming what failed; `up` goes on from there.
    """
    from drydock import lost_database, stale_redis
    from drydock.recovery.archive import archiver

    _start(environment, report)
    if not _make_usable(environment, report):
        report(lost_database.refusal(environment).message)
    stale_redis.pay(environment)
    environment.record(started_with=_digest(environment), runs=environment.engine.fingerprint())
    try:
        archiver.ensure(environment, report)
    except DrydockError as error:
        report(f"{error.message} ({error.hint})")


def choose_engine(environment: Environment, report: Callable[[str], None]) -> None:
    """Record the engine of this environment, where none is recorded yet.

    Raises:
        EngineError: where neither works.
    """
    from drydock.engine.choice import choose

    name, reason = choose(environment)
    if not environment.state.engine:
        report(f"engine: {name}, because {reason}")
    environment.record(engine=name, engine_reason=reason)


def _make_usable(environment: Environment, report: Callable[[str], None]) -> bool:
    """False where the application's database is gone and the archive has it, so that none is made in its place."""
    from drydock import lost_database, postgres, template
    from drydock.recovery.restores import unfinished

    readiness.wait_for_servers(environment)
    with postgres.administer(environment) as connection:
        template.heal(environment, connection)
        gone = lost_database.gone(environment, connection)
    there = not (gone and lost_database.kept(environment))
    if there:
        postgres.bootstrap(environment)
    if gone and there:
        report(f"the database {environment.settings.database} was gone: created anew")
    unfinished.clear(environment, report)
    return there


def _start(environment: Environment, report: Callable[[str], None]) -> None:
    from drydock.recovery.archive import synchronous

    synchronous.release_in_vain(environment)
    _assign_ports(environment, report)
    try:
        environment.engine.start(report)
    except PortTakenError:
        # Somebody was quicker, maybe while images were built. Ports that must not move raise the same once more.
        _assign_ports(environment, report)
        environment.engine.start(report)


def _assign_ports(environment: Environment, report: Callable[[str], None]) -> None:
    from drydock import ports

    states = environment.engine.inspect()
    alive = [service for service, state in states.items() if state.status in {"running", "paused"}]
    held = {getattr(environment.state, f"{service}_port") for service in alive}
    ports.assign(environment, lambda port: port in held, report)


def _migrate(environment: Environment, console: Console, archived: Callable[[], None]) -> tuple[Migrated, str]:
    """Migrate, and leave a way back where there is data; returns the command for that."""
    from drydock import migrate, revisions
    from drydock.recovery.way_back.changes import recorded
    from drydock.recovery.way_back.journal import Kind

    def work() -> Migrated:
        with console.phase("migrate"):
            found = migrate.upgrade(environment)
        for step in found.steps:
            console.step(f"{step.revision}  {step.title}")
        return found

    before = migrate.current(environment) if environment.settings.project.alembic else []
    if not before or before == revisions.heads(environment):
        return work(), ""
    archived()
    with recorded(
        environment, "up", Kind.IN_PLACE, report=console.step, seen=lambda: migrate.current(environment)
    ) as change:
        return work(), change.undo


def _seed(environment: Environment, console: Console) -> Seeded | None:
    from drydock import postgres, seed

    with postgres.connect(environment, environment.owner) as connection:
        known = postgres.facts(connection, ["seeded"])
    if known or not environment.settings.project.seeds or environment.settings.production:
        return None
    with console.phase("seed"), console.progress("seeding") as progress:
        return seed.run(environment, size=environment.settings.seed_size, progress=progress)


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


@contextmanager
def _archiving(environment: Environment, console: Console) -> Iterator[Callable[[], None]]:
    """Start the archiver beside the body. One that does not come up is told, and stops nothing.

    Yields what waits until it is known whether it did.
    """
    from drydock.recovery.archive import archiver

    problems: list[str] = []

    def attempt(step: Callable[[Environment, Callable[[str], None]], object]) -> object:
        try:
            return step(environment, console.step)
        except (DrydockError, OSError) as error:
            problems.append(f"nothing is archived: {error}")
            return None

    # What is recorded of it is recorded before the body begins to record as well.
    wanted = attempt(archiver.prepare)
    thread = threading.Thread(target=lambda: wanted and attempt(archiver.launch))
    thread.start()
    try:
        yield thread.join
    finally:
        thread.join()
        for problem in problems:
            console.note(problem)


def _digest(environment: Environment) -> str:
    settings, state = environment.settings, environment.state
    limits = (settings.postgres_memory, settings.postgres_shm, settings.redis_memory)
    ports = (settings.postgres_port or state.postgres_port, settings.redis_port or state.redis_port)
    images = (settings.postgres_image, settings.redis_image, settings.images)
    archive = (str(settings.backups), str(settings.archiving), str(settings.synchronous))
    return configuration.digest(environment, *limits, *map(str, ports), *images, *archive)
