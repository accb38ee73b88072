"""psql and redis-cli: the servers' own clients, connected."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from invoke.exceptions import Exit

from drydock.errors import SettingsError
from drydock.tasks.branches import BRANCH_HELP, here_or_on
from drydock.tasks.common import command, passed_on

if TYPE_CHECKING:
    from drydock.checkout import Role
    from drydock.console import Console
    from drydock.environment import Environment

ROLES = ("app", "owner", "backup", "superuser")  # by the names that the environment has for them


@command(
    help={
        "command": "Run this SQL and leave.",
        "args": "Further arguments for psql, in one string.",
        "branch": BRANCH_HELP,
        "role": "Who to be: app, owner, backup (reads every tenant's rows and writes nothing) or superuser.",
    },
    passes_on=True,
)
def psql(console: Console, command: str = "", args: str = "", branch: str = "", role: str = "app") -> None:
    """Open psql on the application's database as the application role; what follows -- is for psql."""
    if role not in ROLES:
        raise SettingsError(f"There is no role {role!r}: {', '.join(ROLES)}.", hint="invoke --help psql")
    environment = here_or_on(console, branch)
    words = ["--command", command] if command else []
    _run(environment, "psql", [*words, *shlex.split(args), *passed_on()], getattr(environment, role))


@command(
    name="redis-cli",
    help={"command": "Run this Redis command and leave.", "args": "Further arguments for redis-cli, in one string."},
    passes_on=True,
)
def redis_cli(_console: Console, command: str = "", args: str = "") -> None:
    """Open redis-cli on this checkout's Redis; what follows -- is for redis-cli."""
    from drydock.environment import open_existing

    _run(open_existing(), "redis-cli", [*shlex.split(args), *passed_on(), *shlex.split(command)])


def _run(environment: Environment, program: str, arguments: list[str], role: Role | None = None) -> None:
    code = environment.engine.interactive(program, arguments, role=role)
    if code:
        raise Exit(code=code)


TASKS = (psql, redis_cli)
