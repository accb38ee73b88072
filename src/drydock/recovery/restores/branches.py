"""Branches: what there was at some moment, kept beside the environment as a cluster of its own on a port of its own.

A branch is read and written like the environment itself. It is not archived: what is written there has no way back.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from drydock import ports, postgres, readiness, subscriptions, template
from drydock.engine import POSTGRES
from drydock.errors import NoEnvironmentError, NotReadyError, RefusedError, SettingsError
from drydock.fault_points import Point, reached
from drydock.files import write_atomic
from drydock.recovery.archive import synchronous
from drydock.recovery.restores import promotion, unfinished

if TYPE_CHECKING:
    from pathlib import Path

    from drydock.environment import Environment
    from drydock.recovery.restores.rewind import Paused
    from drydock.settings import Settings

NAME = re.compile(r"[a-z][a-z0-9_-]{0,30}")
PREFIX = "branch-"


@dataclass(frozen=True, kw_only=True)
class Branch:
    """A branch.

    Attributes:
        name: as people say it.
        volume: where its data is.
        port: on 127.0.0.1.
        moment: what was gone back to, for people.
        last_commit: the time of the last transaction that is in it, UTC as the server words it; may be empty.
        made: UTC, ISO 8601.
    """

    name: str
    volume: str
    port: int
    moment: str
    last_commit: str
    made: str


def check(environment: Environment, name: str) -> str:
    """The volume of a branch that is to be made.

    Raises:
        SettingsError: where the name cannot be one.
        RefusedError: where there is a branch of that name.
    """
    if not NAME.fullmatch(name):
        raise SettingsError(
            f"{name!r} is no name for a branch.", hint="1 to 31 of a-z, 0-9, _ and -, beginning with a letter."
        )
    if _path(environment.settings, name).exists():
        raise RefusedError(f"There is a branch {name} already.", hint=f"invoke branch.drop {name}")
    return environment.engine.beside.volume(PREFIX + name)


def every(settings: Settings) -> list[Branch]:
    """All branches, by name."""
    paths = sorted(_folder(settings).glob("*.json"))
    return [Branch(**json.loads(path.read_text(encoding="utf-8"))) for path in paths]


def find(settings: Settings, name: str) -> Branch:
    """The branch of that name.

    Raises:
        NoEnvironmentError: where there is none, naming those there are.
    """
    found = {branch.name: branch for branch in every(settings)}
    if name not in found:
        names = ", ".join(found) or "none"
        raise NoEnvironmentError(
            f"There is no branch {name!r}; there are: {names}.", hint="invoke restore --at TIME --branch NAME"
        )
    return found[name]


def keep(environment: Environment, paused: Paused, name: str, moment: str, made: str) -> Branch:
    """Make a branch of a server that pauses.

    Raises:
        DrydockError: where it does not come up; its volume is then to be removed.
    """
    branch = Branch(
        name=name,
        volume=paused.volume,
        port=ports.pick(f"{environment.state.checkout} branch {name}"),
        moment=moment,
        last_commit=paused.last_commit,
        made=made,
    )
    there = opened(environment, paused, branch.port)
    postgres.bootstrap(there)
    _folder(environment.settings).mkdir(mode=0o700, exist_ok=True)
    write_atomic(_path(environment.settings, name), json.dumps(asdict(branch), indent=1) + "\n")
    reached(Point.BRANCH_WRITTEN)
    unfinished.finish(environment)
    return branch


def opened(environment: Environment, paused: Paused, port: int) -> Environment:
    """Have a server that pauses leave recovery and listen on a port; the environment as seen from there.

    What a reset or restore was in the midst of at that moment is cleared: its database is open.
    """
    beside = environment.engine.beside
    promotion.promote(beside, paused, environment.superuser)
    beside.end(paused.volume)
    there = _launched(environment, paused.volume, port)
    with postgres.administer(there) as connection:
        template.heal(there, connection)
    return there


def at(environment: Environment, name: str) -> Environment:
    """The environment as seen from a branch, whose server is started where it does not run.

    Raises:
        NoEnvironmentError: where there is no such branch.
        NotReadyError: where its server does not come up.
    """
    branch = find(environment.settings, name)
    if environment.engine.beside.state(branch.volume).running:
        return environment.at(branch.volume, branch.port)
    environment.engine.beside.prepare(lambda _line: None)
    return _launched(environment, branch.volume, branch.port)


def running(environment: Environment, name: str) -> Environment:
    """The environment as seen from a branch whose server runs; nothing is started.

    Raises:
        NoEnvironmentError: where there is no such branch.
        NotReadyError: where its server does not run.
    """
    branch = find(environment.settings, name)
    if not environment.engine.beside.state(branch.volume).running:
        raise NotReadyError(f"The server of the branch {name} is stopped.", hint=f"invoke psql --branch {name}")
    return environment.at(branch.volume, branch.port)


def drop(environment: Environment, name: str) -> Branch:
    """Remove a branch with its data; a kill leaves it removable."""
    branch = find(environment.settings, name)
    environment.engine.beside.remove(branch.volume)
    _path(environment.settings, name).unlink()
    return branch


def stop_all(environment: Environment) -> list[str]:
    """Stop the servers of all branches; returns the names of those that ran."""
    beside = environment.engine.beside
    return [branch.name for branch in every(environment.settings) if beside.end(branch.volume)]


def forget_all(settings: Settings) -> None:
    """Forget every branch: its volume is gone."""
    for path in _folder(settings).glob("*.json"):
        path.unlink()


def _launched(environment: Environment, volume: str, port: int) -> Environment:
    environment.engine.beside.launch(volume, port, [synchronous.NOBODY, subscriptions.NOBODY_SUBSCRIBES])
    there = environment.at(volume, port)
    readiness.wait(there, {POSTGRES: readiness.postgres_up})
    return there


def _folder(settings: Settings) -> Path:
    return settings.folder / "branches"


def _path(settings: Settings, name: str) -> Path:
    return _folder(settings) / f"{name}.json"
