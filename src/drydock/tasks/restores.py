"""restore and restore.undo."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from invoke.collection import Collection

from drydock.console import seconds
from drydock.tasks.common import YES_HELP, changing, command
from drydock.tasks.seeds import undo
from drydock.tasks.words import WordTask

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from drydock.backup.catalogue import Entry
    from drydock.backup.restore import Restored
    from drydock.console import Console
    from drydock.environment import Environment


@command(
    help={
        "source": "A backup (its name, a beginning of it, its label, latest), a dump's file or folder, or - for stdin.",
        "into": "Restore beside, as a database of this name.",
        "table": "Bring back only this table's rows; may be given several times.",
        "yes": YES_HELP,
    },
    iterable=["table"],
    klass=WordTask,
    positional=["source"],
)
def restore(
    console: Console,
    source: str = "latest",
    into: str = "",
    table: list[str] = [],  # noqa: B006 - Invoke's own form of a flag that may be repeated
    yes: bool = False,
    json: bool = False,
) -> None:
    """Go back to a backup, or take in somebody's dump. What it replaces is kept: `invoke restore.undo`."""
    from drydock.backup import restore as work
    from drydock.backup import tables
    from drydock.backup.catalogue import Entry
    from drydock.console import confirm
    from drydock.environment import refuse_in_production
    from drydock.errors import RefusedError, SettingsError

    def ask(question: str) -> None:
        if not yes and not confirm(f"{question} Type yes to go on:", "yes"):
            raise RefusedError(f"Nothing was replaced. {question}", hint="Answer yes, or pass --yes.")

    if into and table:
        raise SettingsError("--into and --table cannot be had together.", hint="invoke --help restore")
    with changing(console, "restore") as environment:
        refuse_in_production(environment.settings, "restore")
        found = _find(environment, source)
        with console.phase("restore"), console.progress("restoring") as progress:
            dealings = work.Dealings(ask, console.step, progress)
            if not isinstance(found, Entry):
                result = work.restore_foreign(environment, found, dealings, into=into)
            elif table or (found.manifest and found.manifest.tables_only and not into):
                result = tables.restore(environment, found, dealings, table)
            else:
                result = work.restore(environment, found, dealings, into=into)
    carried = result.carried
    console.result({**result.__dict__, "carried": carried and asdict(carried)}, _lines(result, environment))


def _find(environment: Environment, source: str) -> Entry | Path | BinaryIO:
    """A backup of ours, or somebody's dump."""
    from drydock.backup import catalogue, dump, manifest
    from drydock.errors import DrydockError

    if source == "-":
        return sys.stdin.buffer
    path = Path(source)
    if path.is_dir() and (path / manifest.FILE).exists():
        return catalogue.at(path.absolute())
    if path.exists():
        return path
    if len(path.parts) > 1:
        raise DrydockError(f"There is no file or folder {source}.", hint="invoke backup.list names the backups.")
    return dump.catalogue(environment).find(source)


def _lines(result: Restored, environment: Environment) -> Iterator[str]:
    steps = ", ".join(f"{name} {seconds(value)}" for name, value in result.seconds.items())
    what = f"{', '.join(result.tables)} of {result.source}" if result.tables else result.source
    yield f"Restored {what}: {steps}."
    if result.carried:
        yield from (f"  {line}" for line in result.carried.lines(environment.owner.name, environment.app.name))
    if result.created_roles:
        yield f"  created the roles {', '.join(result.created_roles)}; they cannot log in"
    if result.migrated:
        yield f"  migrated by {', '.join(result.migrated)}"
    if result.previous:
        yield f"Redis: {result.redis}. The data from before is kept as {result.previous}. undo: invoke restore.undo"
    else:
        url = environment.database_url(environment.app, result.database, password=False)
        yield f"It is the database {result.database}: {url}"


def group() -> Collection:
    """`restore`."""
    collection = Collection("restore")
    collection.add_task(restore, name="from", default=True)
    # One database is kept, whatever replaced it.
    collection.add_task(undo)
    return collection
