"""status, doctor, logs."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from invoke.exceptions import Exit

from drydock.checks import Status, worst
from drydock.console import stream
from drydock.errors import NotReadyError, SettingsError
from drydock.tasks.branches import BRANCH_HELP
from drydock.tasks.common import MANY_LINES, command, whole_number
from drydock.tasks.environment import urls
from drydock.tasks.words import WordTask

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from drydock.checks import Check
    from drydock.console import Console
    from drydock.environment import Environment


@command(help={"branch": BRANCH_HELP})
def status(console: Console, branch: str = "", json: bool = False) -> None:
    """Show what runs, where, and whether it is usable; exit code 5 where it is not."""
    from drydock import readiness
    from drydock.environment import open_existing

    environment = _seen_from(branch) if branch else open_existing()
    checks = readiness.checks(environment)
    if not branch:
        checks += [*_backups(environment), *_archive(environment, checks)]
    state = environment.state
    data = {
        "status": str(worst(checks)),
        "engine": state.engine,
        "engine_reason": state.engine_reason,
        "name": state.name,
        "urls": urls(environment),
        "checks": [asdict(check) for check in checks],
    }
    heading = f"{state.name} on {state.engine} ({state.engine_reason})"
    console.result(
        data, [heading, *(f"  {name:<10}{url}" for name, url in urls(environment).items()), *console.checks(checks)]
    )
    if worst(checks) is Status.FAIL:
        raise Exit(code=NotReadyError.exit_code)


def _seen_from(branch: str) -> Environment:
    from drydock.environment import open_existing
    from drydock.recovery.restores import branches

    return branches.running(open_existing(started=False), branch)


def _backups(environment: Environment) -> Iterator[Check]:
    """Whether the last proven backup is as young as it should be, where somebody asked for that."""
    from datetime import UTC, datetime

    from drydock.backup.scheduling import freshness

    if found := freshness.check(environment.settings, datetime.now(UTC)):
        yield found


def _archive(environment: Environment, ready: Sequence[Check]) -> Iterator[Check]:
    """What can be gone back to; nothing, not even an import, where the WAL is not archived."""
    if environment.settings.archiving:
        from drydock.recovery.upkeep import overview

        yield from overview.status(environment, ready)


@command()
def doctor(console: Console, json: bool = False) -> None:
    """Examine engine, images, ports, disk, files, clocks, settings, extensions and migrations; one fix per finding."""
    from drydock import doctor as examination

    checks = examination.examine()
    found = [check for check in checks if check.status is not Status.PASS]
    data = {"status": str(worst(checks)), "checks": [asdict(check) for check in checks]}
    summary = (
        f"{len(checks)} checks, {len(found)} with something to do." if found else f"{len(checks)} checks, all is well."
    )
    console.result(data, [*console.checks(checks), summary])
    if worst(checks) is Status.FAIL:
        raise Exit(code=1)


@command(
    help={
        "service": "postgres, redis or archiver; the first two by default.",
        "lines": "How many lines of each.",
        "follow": "Go on with new lines; Ctrl-C ends.",
    },
    klass=WordTask,
    positional=["service"],
)
def logs(console: Console, service: str = "", lines: str = "50", follow: bool = False, json: bool = False) -> None:
    """Show what the servers wrote."""
    from drydock.engine import ARCHIVER, SERVICES
    from drydock.environment import open_existing

    count = whole_number("--lines", lines, most=MANY_LINES)
    if service and service not in {*SERVICES, ARCHIVER}:
        raise SettingsError(f"There is no service {service!r}; there are {', '.join(SERVICES)} and {ARCHIVER}.")
    if follow and (json or not service):
        raise SettingsError("--follow needs one service and goes without --json.", hint="invoke logs postgres --follow")
    engine = open_existing().engine
    if follow:
        stream(engine.logs(service, lines=count, follow=True))
        return
    found = {name: list(engine.logs(name, lines=count)) for name in ([service] if service else SERVICES)}
    console.result(found, (f"{name} | {line}" for name, written in found.items() for line in written))


TASKS = (status, doctor, logs)
