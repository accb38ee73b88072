"""Making a backup: pg_dump of one snapshot, packed as it is written, with what proves it later."""

from __future__ import annotations

import io
import json
import re
import subprocess
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import psycopg

from drydock import postgres
from drydock.backup import contents, encryption, origin, packing, pg_program, selection, table_names
from drydock.backup.catalogue import Catalogue
from drydock.backup.growing import Packer
from drydock.backup.manifest import Manifest, PackedFile
from drydock.errors import DrydockError
from drydock.fault_points import Point, reached

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime
    from pathlib import Path

    from drydock.backup.catalogue import Draft, Entry
    from drydock.backup.contents import Contents, Position
    from drydock.environment import Environment
    from drydock.postgres import Connection

    Progress = Callable[[str, int, int], None]

DUMP, GLOBALS, CONTENTS = "dump", "globals.sql.zst", "contents.json.zst"
ROLES_END = b"-- PostgreSQL database cluster dump complete"
JOBS = 2
LOCK_WAIT = "30s"  # for a table that somebody changes just then
_LOCKED = """SELECT l.relation::regclass::text, l.pid, a.application_name
    FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid)
    WHERE l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND l.locktype = 'relation'
      AND l.mode = 'AccessExclusiveLock' AND l.granted AND a.application_name <> 'drydock' LIMIT 1"""
_WAITED = re.compile(r"(?:statement|lock) timeout|obtain lock")
_FINISHED = re.compile(r"finished item (\d+) TABLE DATA (\S+)")


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to back up.

    Attributes:
        label: a word for the folder's name; may be empty.
        tables: only the rows of these, and of those they refer to; empty for all.
        schema_only: no rows.
        redis: save Redis beside it.
    """

    label: str = ""
    tables: tuple[str, ...] = ()
    schema_only: bool = False
    redis: bool = False


@dataclass
class Snapshot:
    """One moment of the database: what pg_dump dumps and the checksums are taken of."""

    connection: postgres.Connection
    identifier: str
    everything: list[str]
    chosen: list[str]
    tables_only: list[str]
    size: int
    before: dict[str, Position]
    held: Contents = field(default_factory=contents.Contents)


def catalogue(environment: Environment) -> Catalogue:
    """The checkout's backups."""
    return Catalogue(environment.settings.backups / "dumps")


def make(environment: Environment, request: Request, *, now: datetime, progress: Progress) -> Entry:
    """Back the application's database up, in one snapshot, while everybody goes on writing.

    It is made as the backup role, which row-level security does not bind.

    Args:
        environment: whose database.
        request: what of it.
        now: the time that names it.
        progress: called with `tables` or `bytes`, how many are done, and how many there are about.

    Raises:
        DrydockError: where the server, the disk or a setting does not allow it; nothing is left of it then.
    """
    sealing = encryption.sealing(environment.settings)
    encryption.check(sealing)
    begun = time.monotonic()
    with catalogue(environment).writing(request.label, now) as draft, _snapshot(environment, request) as snapshot:
        reached(Point.BACKUP_BEGUN)
        files = _dump(environment, request, snapshot, draft.path, progress)
        reached(Point.BACKUP_DUMPED)
        files |= _beside(environment, request, snapshot, draft)
        keys = None
        if request.redis:
            from drydock.backup import redis_copy

            name = sealing.name(redis_copy.FILE)
            keys, files[name] = redis_copy.save(environment, draft.path / name, sealing)
        manifest = Manifest(
            name="",
            sequence=0,
            made="",
            tool=version("drydock"),
            schema_only=request.schema_only,
            tables_only=snapshot.tables_only,
            database_size=snapshot.size,
            tables=snapshot.held.tables,
            files=files,
            recipients=list(sealing.recipients),
            redis_keys=keys,
            seconds={"dump": round(time.monotonic() - begun, 3)},
            **origin.describe(environment, snapshot.connection),
        )
        entry = draft.finish(manifest)
    reached(Point.BACKUP_NAMED)
    return entry


@contextmanager
def _snapshot(environment: Environment, request: Request) -> Iterator[Snapshot]:
    with postgres.connect(environment, environment.backup, autocommit=True) as connection:
        postgres.prove_ours(environment, connection)
        contents.prepare(connection)
        connection.execute(f"SET lock_timeout = '{LOCK_WAIT}'".encode())
        before = contents.sequences(connection)
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        row: Any = connection.execute("SELECT pg_export_snapshot(), pg_database_size(current_database())").fetchone()
        there = selection.relations(connection)
        everything = [*there.tables, *there.views]
        only = selection.with_what_they_refer_to(connection, request.tables, there) if request.tables else []
        # Whatever else is left out: without its revision a schema is of no known one.
        version_table = {f"public.{environment.settings.project.version_table}"} & set(everything)
        limited = bool(request.tables or request.schema_only)
        chosen = sorted(version_table.union(only if not request.schema_only else [])) if limited else everything
        yield Snapshot(connection, str(row[0]), everything, chosen, only, int(row[1]), before)


def _dump(
    environment: Environment, request: Request, snapshot: Snapshot, folder: Path, progress: Progress
) -> dict[str, PackedFile]:
    """Run pg_dump beside the checksums; returns the packed files by path below `folder`."""
    target = folder / DUMP
    target.mkdir(mode=0o700)
    packer = Packer(folder / "raw", target, encryption.sealing(environment.settings), JOBS)
    tables = 0

    def each(line: str) -> None:
        nonlocal tables
        found = _FINISHED.search(line)
        if found:
            tables += 1
            packer.completed(f"{found.group(1)}.dat")
        elif packer.source.exists():
            packer.look()
        progress("tables", tables, len(snapshot.chosen))

    process = environment.engine.run(
        "pg_dump", _arguments(request, snapshot), role=environment.backup, folder=folder, stdout=subprocess.DEVNULL
    )
    with _summing(environment, snapshot), pg_program.ending(process), _watching(packer, snapshot.size, progress):
        try:
            pg_program.follow(process, "pg_dump", each)
            files = packer.finish()
        finally:
            packer.stop()
    packer.source.rmdir()
    return {f"{DUMP}/{name}": file for name, file in files.items()}


def _arguments(request: Request, snapshot: Snapshot) -> list[str]:
    """pg_dump's: uncompressed and unsynced, since its files are packed and synced as they grow."""
    left_out = [name for name in snapshot.everything if name not in snapshot.chosen]
    left_out += snapshot.before if request.schema_only else []
    return [
        "--format=directory",
        f"--jobs={JOBS}",
        "--compress=0",
        "--no-sync",
        "--verbose",
        "--file=raw",
        f"--snapshot={snapshot.identifier}",
        f"--lock-wait-timeout={LOCK_WAIT}",
        # Whatever PGCLIENTENCODING or the database's settings ask for, which may not have all its letters.
        f"--encoding={snapshot.connection.info.parameter_status('server_encoding')}",
        *(["--no-large-objects"] if request.schema_only else []),
        *(f"--exclude-table-data={table_names.quoted(name)}" for name in left_out),
    ]


@contextmanager
def _summing(environment: Environment, snapshot: Snapshot) -> Iterator[None]:
    """Take the checksums of the same snapshot while the body dumps it: the server's other core has nothing to do."""
    failures: list[BaseException] = []

    def sum_up() -> None:
        try:
            snapshot.held = contents.take(snapshot.connection, only=snapshot.chosen)
        except BaseException as error:  # noqa: BLE001 - raised below, in the thread that asked
            failures.append(error)

    thread = threading.Thread(target=sum_up, name="checksums")
    thread.start()
    try:
        yield
    except DrydockError as error:
        _end(thread, snapshot.connection)
        _raise_locked(environment, error)
        # The dump may have ended because the session of the snapshot did: that one's own words say more then.
        if failures and not isinstance(failures[0], psycopg.errors.QueryCanceled):
            raise failures[0] from error
        raise
    except BaseException:
        _end(thread, snapshot.connection)
        raise
    thread.join()
    if failures:
        _raise_locked(environment, failures[0])
        raise failures[0]


def _end(thread: threading.Thread, connection: Connection) -> None:
    """Cancel what the thread asks the server for, until it has noticed."""
    while thread.is_alive():
        connection.cancel_safe()
        thread.join(0.1)


def _raise_locked(environment: Environment, error: BaseException) -> None:
    """Say which table could not be read, where somebody holds a lock on it that lets nobody read.

    Raises:
        DrydockError: naming it, and who holds it.
    """
    if not _WAITED.search(str(error)):
        return
    with postgres.connect(environment, environment.backup) as connection:
        found = connection.execute(_LOCKED).fetchone()
    if found:
        table, process, name = found
        raise DrydockError(
            f"{table} is locked for more than {LOCK_WAIT} by {name or 'a session'} (process {process}).",
            hint="Once that is done: invoke backup",
        ) from error


@contextmanager
def _watching(packer: Packer, size: int, progress: Progress) -> Iterator[None]:
    """Report how many bytes are dumped while the body runs."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.2):
            progress("bytes", packer.done, max(size, packer.done))

    thread = threading.Thread(target=watch, name="progress")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _beside(environment: Environment, request: Request, snapshot: Snapshot, draft: Draft) -> dict[str, PackedFile]:
    """The roles, and what the database held besides its rows."""
    sealing = encryption.sealing(environment.settings)
    names = {name: draft.path / sealing.name(name) for name in (GLOBALS, CONTENTS)}
    arguments = ["--globals-only", "--no-role-passwords"]
    with pg_program.ending(environment.engine.run("pg_dumpall", arguments, stdout=subprocess.PIPE)) as process:
        assert process.stdout is not None
        text = process.stdout.read()
        pg_program.follow(process, "pg_dumpall", lambda _line: None)
    if ROLES_END not in text[-len(ROLES_END) - 100 :]:
        raise DrydockError("What pg_dumpall told of the roles is cut off.", hint="invoke backup, again; invoke logs")
    roles = packing.pack(io.BytesIO(text), names[GLOBALS], sealing)
    document = {
        "definitions": {
            name: text
            for name, text in snapshot.held.definitions.items()
            if not (request.schema_only and name.startswith("large object "))
        },
        "sequences": {} if request.schema_only else contents.sequences(snapshot.connection),
        "sequences_before": snapshot.before,
    }
    described = packing.pack(io.BytesIO(json.dumps(document, indent=1).encode()), names[CONTENTS], sealing)
    return {names[GLOBALS].name: roles, names[CONTENTS].name: described}
