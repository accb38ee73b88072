"""psql and redis-cli: the servers' own clients, connected."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from invoke.exceptions import Exit

from drydock.tasks.common import command

if TYPE_CHECKING:
    from drydock.console import Console


@command(help={"command": "Run this SQL and leave.", "args": "Further arguments for psql, in one string."})
def psql(_console: Console, command: str = "", args: str = "") -> None:
    """Open psql on the application's database as the application role."""
    _run("psql", [*(["--command", command] if command else []), *shlex.split(args)])


@command(
    name="redis-cli",
    help={"command": "Run this Redis command and leave.", "args": "Further arguments for redis-cli, in one string."},
)
def redis_cli(_console: Console, command: str = "", args: str = "") -> None:
    """Open redis-cli on this checkout's Redis."""
    _run("redis-cli", [*shlex.split(args), *shlex.split(command)])


def _run(program: str, arguments: list[str]) -> None:
    from drydock.environment import open_existing

    code = open_existing().engine.interactive(program, arguments)
    if code:
        raise Exit(code=code)


TASKS = (psql, redis_cli)
