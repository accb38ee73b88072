"""up, down, destroy, env."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drydock.errors import SettingsError
from drydock.tasks.branches import BRANCH_HELP, here_or_on
from drydock.tasks.common import YES_HELP, changing, command, confirmed, settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drydock.backup.catalogue import Entry
    from drydock.checks import Check
    from drydock.console import Console
    from drydock.environment import Environment
    from drydock.lifecycle import Up


@command(
    help={"from-backup": "On first start: this backup (a name, a beginning, a label, latest) instead of the seeds."}
)
def up(console: Console, from_backup: str | None = None, json: bool = False) -> None:
    """Start Postgres and Redis, migrate, and seed on first start; does nothing where all is well."""
    from drydock import lifecycle
    from drydock.lock import locked
    from drydock.state import StateFile

    if from_backup is not None and not from_backup.strip():
        raise SettingsError("--from-backup is empty.", hint="Is a variable of the shell not set? invoke --help up")
    current = settings()
    StateFile(current.folder).prepare()
    with locked(current.folder, "up", timeout=current.lock_timeout, report=console.step):
        environment, notes = lifecycle.prepare(settings())
        for note in notes:
            console.note(note)
        backup = _beginning(environment, from_backup, console) if from_backup is not None else None
        found = lifecycle.is_up(environment)
        result = _already_up(environment, found) if found else lifecycle.bring_up(environment, console, backup)
    console.result(_up_data(result, console), _up_lines(result))


@command()
def down(console: Console, json: bool = False) -> None:
    """Stop Postgres and Redis. All data stays."""
    from drydock.recovery.upkeep import attendant

    with changing(console, "down") as environment:
        from drydock.recovery.restores import branches

        with console.phase("stop"):
            attendant.stop(environment.settings)
            ran = any([environment.engine.stop(), *branches.stop_all(environment)])
        environment.record(started_with="")
    console.result(
        {"stopped": ran}, ["Stopped. The data stays; `invoke up` brings it back." if ran else "Nothing was running."]
    )


@command(help={"yes": YES_HELP})
def destroy(console: Console, yes: bool = False, json: bool = False) -> None:
    """Remove this checkout's servers, those for tests too, with all their data. There is no way back; it asks first."""
    from drydock.environment import refuse_in_production
    from drydock.recovery.restores import branches, unfinished
    from drydock.recovery.upkeep import attendant
    from drydock.throwaway.server import stop_all

    current = settings()
    refuse_in_production(current, "destroy")
    with changing(console, "destroy") as environment:
        names = ", ".join(volume.name for volume in environment.engine.volumes()) or "nothing yet"
        confirmed(
            f"This removes {names} for good. Type {environment.state.name} to go on:", environment.state.name, yes=yes
        )
        with console.phase("destroy"):
            stop_all(current.root)
            attendant.stop(current)
            removed = environment.engine.destroy()
            branches.forget_all(current)
            unfinished.finish(environment)
        environment.record(
            engine="",
            engine_reason="",
            system_identifier="",
            incarnation=1,
            part="",
            started_with="",
            runs="",
            images={},
        )
    console.result({"removed": removed}, [f"Removed {', '.join(removed) or 'nothing'}. Backups and .env stay."])


@command(help={"branch": BRANCH_HELP})
def env(console: Console, branch: str = "", json: bool = False) -> None:
    """Print the connection URLs for the shell, passwords included: eval "$(invoke env)"."""
    values = here_or_on(console, branch).variables()
    console.result(values, (f"export {name}='{value}'" for name, value in values.items()))


def _already_up(environment: Environment, checks: list[Check]) -> Up:
    """Nothing to do, but for an attendant that was ended before its time."""
    from drydock import lifecycle
    from drydock.recovery.upkeep import attendant

    if attendant.unfinished(environment.settings):
        attendant.spawn(environment)
    return lifecycle.Up(environment, changed=False, checks=checks)


def _beginning(environment: Environment, wanted: str, console: Console) -> Entry:
    """The backup to begin with: found, fetched and checked before anything is started."""
    from drydock import lifecycle
    from drydock.backup import beginning
    from drydock.environment import refuse_in_production

    refuse_in_production(environment.settings, "up --from-backup")
    if lifecycle.is_up(environment):
        raise beginning.already(environment, wanted)
    return beginning.find(environment.settings, wanted, console)


def _up_data(result: Up, console: Console) -> dict[str, object]:
    environment = result.environment
    return {
        "changed": result.changed,
        "engine": environment.state.engine,
        "engine_reason": environment.state.engine_reason,
        "phases": console.phases,
        "migrated": [step.revision for step in result.migrated.steps] if result.migrated else [],
        "undo": result.undo,
        "seeded": result.seeded.written if result.seeded else {},
        "restored": result.restored.source if result.restored else None,
        "checks": {check.name: str(check.status) for check in result.checks},
        "urls": urls(environment),
    }


def _up_lines(result: Up) -> Iterator[str]:
    environment = result.environment
    if not result.changed:
        yield f"Already up on {environment.state.engine}: nothing to do."
    elif result.restored:
        yield f"Ready on {environment.state.engine}, with the data of {result.restored.source}."
    elif result.seeded:
        rows = sum(result.seeded.written.values())
        yield f"Ready on {environment.state.engine}, seeded with {rows:,} rows ({result.seeded.size})."
    else:
        yield f"Ready on {environment.state.engine}."
    for name, url in urls(environment).items():
        yield f"  {name:<10}{url}"
    if result.undo:
        yield f"Migrated by {len(result.migrated.steps) if result.migrated else 0}. undo: {result.undo}"
    if result.changed:
        yield '  eval "$(invoke env)" gives your shell the passwords; `invoke psql` connects at once.'


def urls(environment: Environment) -> dict[str, str]:
    """The connection URLs without passwords."""
    return {
        "postgres": environment.database_url(environment.app, password=False),
        "redis": environment.redis_url(password=False),
    }


TASKS = (up, down, destroy, env)
