"""restore and restore.undo."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from invoke.collection import Collection

from drydock.console import seconds
from drydock.errors import DrydockError, RefusedError, SettingsError, word
from drydock.tasks import rewinds
from drydock.tasks.common import YES_HELP, changing, command
from drydock.tasks.seeds import undo
from drydock.tasks.words import LATEST, Default, WordTask

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager
    from typing import BinaryIO

    from drydock.backup.catalogue import Entry
    from drydock.backup.restore import Restored
    from drydock.console import Console
    from drydock.environment import Environment
    from drydock.recovery.way_back.changes import Change


@command(
    help={
        "source": "A backup (its name, its label, latest, a beginning of its name), a dump's path, or - for stdin.",
        "into": "Restore beside, as a database of this name.",
        "table": "Bring back only this table's rows; may be given several times.",
        "at": 'Go back to a moment: "10 minutes ago", "14:05", "yesterday 18:00" or ISO 8601.',
        "before-xid": "Go back to right before this transaction, as invoke history shows it.",
        "lsn": "Go back to this position in the WAL, such as 0/16B3748.",
        "mark": "Go back to this mark.",
        "latest": "Go as far forth as the WAL archive reaches.",
        "timeline": "On this timeline, where the same is there on several.",
        "plan": "Only say how a restore to that moment would go, and what it would undo.",
        "branch": "Keep that moment beside, as a branch of this name on a port of its own.",
        "replace": "With --table and a moment: in place of the rows of now; beside them as ..._restored by default.",
        "cluster": "Of this cluster, by its system identifier, where backups/ has several.",
        "yes": YES_HELP,
    },
    iterable=["table"],
    klass=WordTask,
    positional=["source"],
)
def restore(  # noqa: PLR0913, PLR0917 - each is a flag, and Invoke gives all of them by name
    console: Console,
    source: str = LATEST,
    into: str | None = None,
    table: list[str] = [],  # noqa: B006 - Invoke's own form of a flag that may be repeated
    at: str | None = None,
    before_xid: str | None = None,
    lsn: str | None = None,
    mark: str | None = None,
    latest: bool = False,
    timeline: str | None = None,
    plan: bool = False,
    branch: str | None = None,
    replace: bool = False,
    cluster: str | None = None,
    yes: bool = False,
    json: bool = False,
) -> None:
    """Go back to a backup or to a moment, or take in somebody's dump. What it replaces is kept."""
    given = {"at": at, "before_xid": before_xid, "lsn": lsn, "mark": mark, "timeline": timeline}
    _refuse_empty(source, table, {"into": into, "branch": branch, "cluster": cluster, **given})
    words = {name: word or "" for name, word in given.items()}
    if any((*words.values(), latest, plan, branch, replace, cluster)):
        _refuse_with_a_moment(source, into)
        wanted = rewinds.Wanted(
            plan=plan, branch=branch or "", tables=table, replace=replace, cluster=cluster or "", yes=yes
        )
        rewinds.go_back(console, {**words, "latest": latest}, wanted)
    else:
        _from_backup(console, source, into or "", table, yes=yes)


def _refuse_empty(source: str, tables: list[str], given: Mapping[str, str | None]) -> None:
    """Stop at a shell's variable that was not set: taken for a flag that was not given, it would replace the data."""
    empty = [name for name, word in given.items() if word is not None and not word.strip()]
    empty += ["table"] if not all(map(str.strip, tables)) else []
    if empty or not source.strip():
        what = f"--{empty[0].replace('_', '-')}" if empty else "The name of the backup"
        raise SettingsError(f"{what} is empty.", hint="Is a variable of the shell not set? invoke --help restore")


def _refuse_with_a_moment(source: str, into: str | None) -> None:
    if into or not isinstance(source, Default):
        what = "--into" if into else f"The backup {source!r}"
        raise SettingsError(f"{what} and a moment to go back to cannot be had together.", hint="invoke --help restore")


def _from_backup(console: Console, source: str, into: str, table: list[str], *, yes: bool) -> None:
    from drydock.backup import restore as work
    from drydock.backup import tables
    from drydock.backup.catalogue import Entry
    from drydock.console import confirm
    from drydock.environment import refuse_in_production

    def ask(question: str) -> None:
        if not yes and not confirm(f"{question} Type yes to go on:", "yes"):
            raise RefusedError(f"Nothing was replaced. {question}", hint="Answer yes, or pass --yes.")

    if into and table:
        raise SettingsError("--into and --table cannot be had together.", hint="invoke --help restore")
    with changing(console, "restore") as environment:
        refuse_in_production(environment.settings, "restore")
        found = _find(environment, source)
        if table and not isinstance(found, Entry):
            raise SettingsError(
                "--table takes single tables from a backup of drydock's, not from a dump.",
                hint=f"invoke restore {word(source)} --into NAME",
            )
        with (
            _recorded(console, environment, into) as change,
            console.phase("restore"),
            console.progress("restoring") as progress,
        ):
            dealings = work.Dealings(ask, console.step, progress)
            if not isinstance(found, Entry):
                result = work.restore_foreign(environment, found, dealings, into=into)
            elif table or (found.manifest and found.manifest.tables_only and not into):
                result = tables.restore(environment, found, dealings, table)
            else:
                result = work.restore(environment, found, dealings, into=into)
    carried = result.carried
    data = {**result.__dict__, "carried": carried and asdict(carried), "undo": change.undo if change else ""}
    console.result(data, [*_lines(result, environment), *(change.lines if change else [])])


def _recorded(console: Console, environment: Environment, into: str) -> AbstractContextManager[Change | None]:
    """What leaves a way back; nothing where the data is restored beside."""
    from drydock.recovery.way_back.changes import recorded
    from drydock.recovery.way_back.journal import Kind

    return nullcontext() if into else recorded(environment, "restore", Kind.DATABASES, report=console.step)


def _find(environment: Environment, source: str) -> Entry | Path | BinaryIO:
    """A backup of ours, or somebody's dump."""
    from drydock.backup import catalogue, choosing, dump, manifest

    if source == "-":
        return sys.stdin.buffer
    backups, path = dump.catalogue(environment), Path(source)
    if source == choosing.LATEST or any(source in _words(entry) for entry in backups.entries()):
        return backups.find(source, own=environment.state.checkout)
    if path.is_dir() and (path / manifest.FILE).exists():
        return catalogue.at(path.absolute())
    if path.exists():
        return path
    if len(path.parts) > 1:
        raise DrydockError(f"There is no file or folder {source}.", hint="invoke backup.list names the backups.")
    return backups.find(source, own=environment.state.checkout)


def _words(entry: Entry) -> tuple[str, ...]:
    """What goes before a file that is called so here, which can be had by its path."""
    return (entry.name, entry.manifest.label) if entry.manifest else (entry.name,)


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
    if result.unmigrated:
        yield f"  not migrated to the end: {result.unmigrated}"
    if result.previous:
        yield f"Redis: {result.redis}. The data from before is kept as {result.previous}."
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
