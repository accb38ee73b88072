"""migrate and its subtasks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from invoke.collection import Collection
from invoke.exceptions import Exit

from drydock.tasks.common import YES_HELP, changing, command, confirmed

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from drydock.console import Console
    from drydock.environment import Environment
    from drydock.migrate import Migrated
    from drydock.recovery.way_back.changes import Change


@command(
    help={
        "to": "A revision; the newest by default.",
        "allow-data-loss": "Run migrations that lose data without saying so in their file.",
    }
)
def migrate(console: Console, to: str = "head", allow_data_loss: bool = False, json: bool = False) -> None:
    """Bring the schema up to the newest migration. One that would lose data must say so, or be allowed to."""
    from drydock import migrate as work

    with changing(console, "migrate") as environment, _recorded(console, environment, "migrate") as change:
        with console.phase("migrate"):
            result = work.upgrade(environment, target=to, allow_data_loss=allow_data_loss)
        if not result.steps:
            change.nothing()
    _show(console, result, change)


@command(help={"to": "A revision, a number of steps such as -1, or base.", "yes": YES_HELP})
def down(console: Console, to: str = "-1", yes: bool = False, json: bool = False) -> None:
    """Take migrations back. Columns and tables they added go with their data; it asks first."""
    from drydock import migrate as work
    from drydock.environment import refuse_in_production

    with changing(console, "migrate.down") as environment:
        refuse_in_production(environment.settings, "migrate.down")
        database = environment.settings.database
        confirmed(f"Data in what these migrations added is lost. Type {database} to go on:", database, yes=yes)
        with _recorded(console, environment, "migrate.down") as change:
            with console.phase("migrate down"):
                result = work.downgrade(environment, target=to)
            if not result.steps:
                change.nothing()
    _show(console, result, change)


@command(
    help={
        "message": "What the migration does.",
        "merge": "Join the heads of two branches instead.",
        "empty": "Leave it to be written by hand.",
    }
)
def new(console: Console, message: str, merge: bool = False, empty: bool = False, json: bool = False) -> None:
    """Write a new migration from the difference between the models and the database."""
    from drydock import migration_files

    with changing(console, "migrate.new") as environment:
        path = migration_files.write(environment, message, merge=merge, empty=empty)
    console.result({"path": str(path)}, [f"Wrote {path}. Read it, then: invoke migrate"])


@command()
def check(console: Console, json: bool = False) -> None:
    """Compare the models with the migrated database; exit code 6 where they differ."""
    from drydock import migration_files
    from drydock.environment import open_existing

    differences = migration_files.drift(open_existing())
    clean = ["The models and the database agree."]
    console.result({"clean": not differences, "differences": differences}, differences or clean)
    if differences:
        raise Exit("✗ The models and the migrations differ.\n  → invoke migrate.new -m 'what changed'", code=6)


@command()
def history(console: Console, json: bool = False) -> None:
    """List the migrations, newest first, and mark where the database is."""
    from drydock import migration_files
    from drydock.console import table
    from drydock.environment import open_existing

    entries = migration_files.history(open_existing())
    rows = [("→" if e["current"] else " ", e["revision"], e["title"], "head" if e["head"] else "") for e in entries]
    console.result({"revisions": entries}, table(rows))


@command(help={"since": "Lint only what comes after this revision; all by default."})
def lint(console: Console, since: str = "", json: bool = False) -> None:
    """Check the SQL of the migrations for locks and changes that hurt, with squawk."""
    from drydock import migration_files
    from drydock.settings import load

    findings = migration_files.lint(load(), since=since)
    lines = [f"{f['rule_name']}: {f['message']} (line {f['line']})" for f in findings]
    console.result({"clean": not findings, "findings": findings}, lines or ["squawk finds nothing to complain about."])
    if findings:
        raise Exit(code=6)


@command(help={"database": "Name of the scratch database; it is replaced."})
def push(console: Console, database: str = "", json: bool = False) -> None:
    """Create the models' tables straight in a scratch database, without migrations."""
    from drydock import migration_files
    from drydock.environment import refuse_in_production

    with changing(console, "migrate.push") as environment, console.phase("push"):
        refuse_in_production(environment.settings, "migrate.push")
        name = migration_files.push(environment, database or f"{environment.settings.database}_scratch")
        url = environment.database_url(environment.owner, name, password=False)
    console.result({"database": name, "url": url}, [f"Pushed to {url}", f"  invoke psql --args '-d {name}'"])


def group() -> Collection:
    """`migrate` with its subtasks; `invoke migrate` alone upgrades."""
    collection = Collection("migrate")
    collection.add_task(migrate, name="up", default=True)
    for task in (down, new, check, history, lint, push):
        collection.add_task(task)
    return collection


def _recorded(console: Console, environment: Environment, task: str) -> AbstractContextManager[Change]:
    """What leaves a way back from migrations; of those that ran before a failing one as well."""
    from drydock import migrate as work
    from drydock.recovery.way_back.changes import recorded
    from drydock.recovery.way_back.journal import Kind

    return recorded(environment, task, Kind.IN_PLACE, report=console.step, seen=lambda: work.current(environment))


def _show(console: Console, result: Migrated, change: Change) -> None:
    steps = [step.__dict__ for step in result.steps]
    data = {"before": result.before, "after": result.after, "steps": steps, "undo": change.undo}
    if result.steps:
        lines = [f"{step.revision}  {step.title}  ({step.seconds * 1000:.0f} ms)" for step in result.steps]
        lines += [f"⚠ {step.revision} destroyed: {step.destroys}" for step in result.steps if step.destroys]
    else:
        lines = [f"Nothing to do: the database is at {', '.join(result.after) or 'the beginning'}."]
    console.result(data, [*lines, *change.lines])
