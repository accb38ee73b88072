"""backup and its subtasks."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from invoke.collection import Collection

from drydock.console import seconds, size, table
from drydock.cycles import no_search_for_cycles
from drydock.errors import SettingsError
from drydock.tasks import archives, backup_keeping, backup_offsite, backup_schedule
from drydock.tasks.common import changing, command, refuse_all_and_name, settings, told
from drydock.tasks.words import LATEST, WordTask

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drydock.backup.catalogue import Entry, Proof
    from drydock.console import Console
    from drydock.environment import Environment

NAME_HELP = "Its name, a beginning of it, its label, or latest."


@command(
    help={
        "label": "A word for its name.",
        "table": "Only this table's rows, with those it refers to; may be given several times.",
        "schema-only": "No rows.",
        "redis": "Save Redis beside it.",
        "no-verify": "Do not prove it: it stays unproven until backup.verify.",
    },
    iterable=["table"],
)
def backup(  # noqa: PLR0913, PLR0917 - each is a flag
    console: Console,
    label: str = "",
    table: list[str] = [],  # noqa: B006 - Invoke's own form of a flag that may be repeated
    schema_only: bool = False,
    redis: bool = False,
    no_verify: bool = False,
    json: bool = False,
) -> None:
    """Back the database up while it is in use, and prove the backup by restoring it beside."""
    from drydock.backup import dump

    if table and (schema_only or redis):
        other = "--schema-only" if schema_only else "--redis"
        raise SettingsError(f"--table and {other} cannot be had together.", hint="invoke --help backup")
    request = dump.Request(label=label, tables=tuple(table), schema_only=schema_only, redis=redis)
    with changing(console, "backup") as environment, console.phase("dump"), console.progress("dumping") as progress:
        entry = dump.make(environment, request, now=datetime.now(UTC), progress=progress)
    proof = None if no_verify else _prove_at_once(console, environment, entry)
    console.result({**_data(entry, proof), "path": str(entry.path)}, _lines(entry, proof))


@command()
def list_backups(console: Console, json: bool = False) -> None:
    """The backups, newest first: when, how large, of what, and whether proven by restoring."""
    from drydock.backup.catalogue import Catalogue

    with no_search_for_cycles():
        entries = Catalogue(settings().backups / "dumps").entries()
        # There may be thousands: only what is printed is made.
        data = {"backups": [_data(entry, entry.proof) for entry in entries]} if json else {}
        console.result(data, _listing(entries))


@command(klass=WordTask, positional=["name"], help={"name": NAME_HELP, "all": "Every backup there is."})
def verify(console: Console, name: str = LATEST, all: bool = False, json: bool = False) -> None:  # noqa: A002 - the flag's name
    """Prove a backup: restore it into a scratch database and compare everything with what was backed up."""
    from drydock.backup import dump
    from drydock.environment import open_existing
    from drydock.errors import DrydockError

    refuse_all_and_name(name, "backup.verify", all_of_them=all)
    environment = open_existing()
    catalogue = dump.catalogue(environment)
    entries = catalogue.entries() if all else [catalogue.find(name)]
    proven, problems = {}, {}
    for entry in entries:
        try:
            proven[entry.name] = _prove(console, environment, entry)
        except DrydockError as error:
            if not all:
                raise
            problems[entry.name] = error.message
            console.complaint(error)
    lines = [
        f"{found}: proven; a restore takes about {seconds(proof.restore_seconds)}." for found, proof in proven.items()
    ]
    console.result(
        {"proven": {found: proof.__dict__ for found, proof in proven.items()}, "failed": problems},
        lines if entries else ["There is nothing to verify."],
    )
    if problems:
        raise DrydockError(f"{len(problems)} of {len(entries)} backups could not be proven.", hint="invoke backup.list")


def _prove_at_once(console: Console, environment: Environment, entry: Entry) -> Proof | None:
    """The proof of a backup that was just made; None where making it took no key, and proving it would.

    Raises:
        UnprovenError: where it cannot be proven, which tells that it is made.
    """
    from drydock.backup import encryption
    from drydock.errors import UnprovenError

    if encryption.sealing(environment.settings).one_way:
        console.note("unproven, for BACKUP_IDENTITY is not set")
        return None
    try:
        return _prove(console, environment, entry)
    except KeyboardInterrupt:
        console.note(f"{entry.name} is made and unproven: invoke backup.verify {entry.name}")
        raise
    except Exception as error:
        known = told(error)
        if known is None:
            raise
        raise UnprovenError(entry.name, entry.path, known) from error


def _prove(console: Console, environment: Environment, entry: Entry) -> Proof:
    from drydock.backup import verify as work

    with console.phase(f"verify {entry.name}"), console.progress("restoring") as progress:
        return work.verify(environment, entry, now=datetime.now(UTC), progress=progress)


def _data(entry: Entry, proof: Proof | None) -> dict[str, object]:
    manifest = entry.manifest
    if manifest is None:
        return {"name": entry.name, "problem": entry.problem}
    return {
        "name": entry.name,
        "made": manifest.made,
        "label": manifest.label,
        "size_bytes": manifest.size,
        "rows": manifest.rows,
        "revisions": manifest.revisions,
        "postgres": manifest.postgres,
        "extensions": manifest.extensions,
        "commit": manifest.commit,
        "schema_only": manifest.schema_only,
        "tables_only": manifest.tables_only,
        "encrypted": bool(manifest.recipients),
        "redis_keys": manifest.redis_keys,
        "seconds": manifest.seconds,
        "pinned": entry.pinned,
        "unreadable": entry.unreadable,
        "proven": proof.when if proof else None,
        "restore_seconds": proof.restore_seconds if proof else None,
    }


def _lines(entry: Entry, proof: Proof | None) -> Iterator[str]:
    manifest = entry.manifest
    assert manifest is not None
    here = Path.cwd()
    yield str(entry.path.relative_to(here) if entry.path.is_relative_to(here) else entry.path)
    what = "the schema" if manifest.schema_only else f"{manifest.rows:,} rows of {len(manifest.tables)} tables"
    yield f"  {what}, {size(manifest.size)}, in {seconds(manifest.seconds['dump'])}"
    if manifest.tables_only:
        yield f"  with the tables they refer to: {', '.join(manifest.tables_only)}"
    if manifest.redis_keys is not None:
        yield f"  and {manifest.redis_keys:,} keys of Redis"
    if proof:
        yield f"  proven: restored and compared; a restore takes about {seconds(proof.restore_seconds)}"
    else:
        yield f"  unproven: invoke backup.verify {entry.name}"
    yield f"  back to it: invoke restore {entry.name}"


def _listing(entries: list[Entry]) -> Iterator[str]:
    if not entries:
        yield "No backup yet: invoke backup"
        return
    heading = ("backup", "made (UTC)", "size", "revision", "postgres", "vector", "commit", "")
    yield from table([heading, *map(_row, entries)])


def _row(entry: Entry) -> tuple[str, ...]:
    manifest = entry.manifest
    if manifest is None:
        return (entry.name, "", "", "", "", "", "", f"unusable: {entry.problem}")
    notes = ["proven" if entry.proof else "unproven"]
    notes += ["schema only"] if manifest.schema_only else []
    notes += [f"{len(manifest.tables_only)} tables"] if manifest.tables_only else []
    notes += ["encrypted"] if manifest.recipients else []
    notes += ["with Redis"] if manifest.redis_keys is not None else []
    notes += [f"pinned {entry.pinned}".rstrip()] if entry.pinned is not None else []
    notes += [f"its {name} cannot be read" for name in entry.unreadable]
    return (
        entry.name,
        manifest.made[:19].replace("T", " "),
        size(manifest.size),
        ",".join(revision[:12] for revision in manifest.revisions),
        manifest.postgres.split(" ")[0],
        manifest.extensions.get("vector", ""),
        manifest.commit,
        ", ".join(notes),
    )


def group() -> Collection:
    """`backup`."""
    collection = Collection("backup")
    collection.add_task(backup, name="make", default=True)
    collection.add_task(list_backups, name="list")
    collection.add_task(verify)
    collection.add_task(archives.base)
    for task in (*backup_keeping.TASKS, *backup_offsite.TASKS, *backup_schedule.TASKS):
        collection.add_task(task)
    return collection
