"""branch.list and branch.drop; a branch is made by `restore --branch`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from invoke.collection import Collection

from drydock.tasks.common import YES_HELP, changing, command, confirmed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drydock.console import Console
    from drydock.environment import Environment
    from drydock.recovery.restores.branches import Branch

BRANCH_HELP = "Of this branch (invoke branch.list) instead of the environment itself."


def here_or_on(console: Console, branch: str) -> Environment:
    """The environment, or as it is seen from a branch, whose server is started where it does not run."""
    from drydock.environment import open_existing

    if not branch:
        return open_existing()
    from drydock.recovery.restores import branches

    with changing(console, f"branch {branch}") as environment:
        return branches.at(environment, branch)


@command(name="list")
def list_branches(console: Console, json: bool = False) -> None:
    """List the branches: what each went back to, its port, and whether its server runs."""
    from drydock.environment import open_existing
    from drydock.recovery.restores import branches

    environment = open_existing(started=False)
    found = branches.every(environment.settings)
    running = {branch.name: environment.engine.beside.state(branch.volume).running for branch in found}
    data = [{**asdict(branch), "running": running[branch.name]} for branch in found]
    console.result({"branches": data}, _lines(found, running))


@command(positional=["name"], help={"name": "The branch.", "yes": YES_HELP})
def drop(console: Console, name: str, yes: bool = False, json: bool = False) -> None:
    """Remove a branch with all that was written there. There is no way back; it asks first."""
    from drydock.environment import refuse_in_production
    from drydock.recovery.restores import branches

    with changing(console, "branch.drop") as environment:
        refuse_in_production(environment.settings, "branch.drop")
        found = branches.find(environment.settings, name)
        confirmed(f"This removes the branch {name} for good. Type {name} to go on:", name, yes=yes)
        branches.drop(environment, name)
    console.result({"removed": asdict(found)}, [f"Removed the branch {name}."])


def _lines(found: list[Branch], running: dict[str, bool]) -> Iterator[str]:
    from drydock.console import local, table

    if not found:
        yield "No branches. One is made by: invoke restore --at TIME --branch NAME"
        return
    states = {True: "running", False: "stopped"}
    rows = [(b.name, b.moment, str(b.port), states[running[b.name]], local(b.made)) for b in found]
    yield from table([("branch", "went back to", "port", "server", "made"), *rows])


def group() -> Collection:
    """`branch`."""
    collection = Collection("branch")
    collection.add_task(list_branches, default=True)
    collection.add_task(drop)
    return collection
