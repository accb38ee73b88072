"""Restoring: into a database beside the live one, compared, migrated, and only then given its name."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO

import psycopg

from drydock import attached, migrate, postgres, redis_client, revisions, stale_redis, template
from drydock.backup import encryption, handing_over, load, origin, redis_copy
from drydock.errors import DrydockError, MigrationError, RefusedError
from drydock.fault_points import Point, reached

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from drydock.backup.catalogue import Entry
    from drydock.backup.foreign.carried import Carried
    from drydock.backup.manifest import Manifest
    from drydock.environment import Environment

    Progress = Callable[[str, int, int], None]

LONGEST = 63  # bytes of a name (manual 4.1.1)


@dataclass(frozen=True)
class Dealings:
    """How a restore deals with whoever asked for it.

    Attributes:
        ask: raises RefusedError where its question is not answered with yes.
        report: takes one line about what is being done.
        progress: takes what is counted, how many are done, and how many there are about.
    """

    ask: Callable[[str], None]
    report: Callable[[str], None]
    progress: Progress


@dataclass(kw_only=True)
class Restored:
    """What a restore did.

    Attributes:
        source: the backup's name, or the file's.
        database: what the restored data is called now.
        previous: where the data from before is kept; empty where nothing was replaced.
        tables: those that were brought back, where it was not all.
        migrated: the migrations that ran after it.
        unmigrated: why not all of them could, where it was restored beside all the same.
        created_roles: roles that had to be created; they cannot log in.
        redis: `flushed`, `restored` or `left alone`.
        carried: what a dump of somebody else's brought; None for a backup of ours.
        seconds: by step.
    """

    source: str
    database: str
    previous: str = ""
    tables: list[str] = field(default_factory=list)
    migrated: list[str] = field(default_factory=list)
    unmigrated: str = ""
    created_roles: list[str] = field(default_factory=list)
    redis: str = "left alone"
    carried: Carried | None = None
    seconds: dict[str, float] = field(default_factory=dict)


def restore(environment: Environment, entry: Entry, dealings: Dealings, *, into: str = "") -> Restored:
    """Restore a backup of ours over the application's database, or beside it as `into`.

    Every file is checked before a server is touched, and what was loaded is compared with what was backed up before
    it replaces anything. The replaced database is kept.

    Raises:
        DrydockError: where the backup is damaged, does not restore, or restores to something else.
        RefusedError: where a question was not answered with yes. The live database is untouched by each of these.
    """
    manifest = load.check_files(entry, encryption.sealing(environment.settings))
    reached(Point.RESTORE_FILES_CHECKED)
    _ask_about_origin(environment, manifest, dealings)
    if manifest.schema_only and not into:
        dealings.ask(f"{entry.name} is of the schema alone. Put its empty tables in the place of your rows?")
    result = Restored(source=entry.name, database=into or environment.settings.database)
    with _beside(environment, into) as name:
        loaded = load.load(environment, entry, name, dealings.progress)
        reached(Point.RESTORE_LOADED)
        result.created_roles = loaded.created_roles
        result.seconds |= {"load": loaded.load_seconds, "compare": loaded.compare_seconds}
        handing_over.hand_over(environment, manifest, name)
        _put_in_place(environment, name, result, dealings, keep_beside=bool(into))
    if not into:
        with _told_of_redis(result.database):
            result.redis = _redis(environment, entry, manifest)
        reached(Point.RESTORE_REDIS_DONE)
    return result


def restore_foreign(
    environment: Environment, source: Path | BinaryIO, dealings: Dealings, *, into: str = ""
) -> Restored:
    """Restore a dump that drydock did not make, as `restore` does; Redis is flushed.

    Raises:
        DrydockError, RefusedError: as `restore`.
    """
    from drydock.backup.foreign import loading

    begun = time.monotonic()
    name = str(source) if not isinstance(source, BinaryIO) and not hasattr(source, "read") else "standard input"
    result = Restored(source=name, database=into or environment.settings.database)
    with _beside(environment, into) as database:
        with postgres.administer(environment) as connection:
            postgres.create_database(environment, connection, database, task="restore")
        result.carried = loading.load(environment, source, database, dealings.report, dealings.progress)
        result.seconds["load"] = round(time.monotonic() - begun, 3)
        if not result.carried.complete:
            for line in result.carried.lines(environment.owner.name, environment.app.name):
                dealings.report(line)
            dealings.ask("Not everything could be carried over. Go on with what was?")
        _put_in_place(environment, database, result, dealings, keep_beside=bool(into))
    if not into:
        with _told_of_redis(result.database):
            stale_redis.flush(environment)
        result.redis = "flushed"
    return result


@contextmanager
def _beside(environment: Environment, into: str) -> Iterator[str]:
    """The name of the database to restore into: dropped where the body fails, and after a kill by the next restore.

    Raises:
        RefusedError: where `into` exists, or is not a name of ours to give.
    """
    live = environment.settings.database
    name = live + template.COMING
    _refuse_name(live, into)
    with postgres.administer(environment) as connection:
        template.heal(environment, connection)
        if into and postgres.exists(connection, into):
            raise RefusedError(f"There is a database {into} already.", hint="Choose another name for --into.")
    reached(Point.RESTORE_BEGUN)
    try:
        yield name
    except BaseException:
        with postgres.administer(environment) as connection:
            template.drop(connection, name)
        raise


def _refuse_name(live: str, into: str) -> None:
    hint, size = "Choose another name for --into.", len(into.encode())
    if into.startswith(f"{live}__"):
        own = f"drydock's own databases have the names that begin with {live}__"
        raise RefusedError(f"Cannot restore into {into}: {own}.", hint=hint)
    if size > LONGEST:
        raise RefusedError(f"Cannot restore into {into}: it has {size} bytes, a name {LONGEST} at most.", hint=hint)


def _put_in_place(
    environment: Environment, name: str, result: Restored, dealings: Dealings, *, keep_beside: bool
) -> None:
    """Migrate what was restored, and give it the live name."""
    try:
        result.migrated = _migrate(environment, name, dealings)
    except MigrationError as error:
        if not keep_beside:
            raise MigrationError(
                f"{result.source} could not be migrated, and nothing was replaced: {error.reason}",
                hint="Restore it beside, where it may stay as it is: --into NAME.",
            ) from error
        result.unmigrated = error.message
    # Whatever was restored, the seeds of a first start do not belong into it.
    with postgres.connect(environment, environment.owner, name) as connection:
        if not postgres.facts(connection, ["seeded"]):
            postgres.note(connection, "seeded", f"from {result.source}")
    reached(Point.RESTORE_CHECKED)
    if keep_beside:
        with postgres.administer(environment) as connection, connection.transaction():
            postgres.hand_over(connection, name)
            template.rename(connection, name, result.database)
        return
    redis_client.require(environment)
    live, begun = environment.settings.database, time.monotonic()
    with postgres.administer(environment) as connection:
        attached.carry_over(environment, connection, name)
        stale_redis.owe_with(environment, connection, name)
        template.swap(connection, live, name)
        reached(Point.RESTORE_SWAPPED)
        template.drop_behind(connection, live + template.LEAVING)
    result.previous = live + template.PREVIOUS
    result.seconds["swap"] = round(time.monotonic() - begun, 3)


def _ask_about_origin(environment: Environment, manifest: Manifest, dealings: Dealings) -> None:
    here = origin.project(environment)
    if manifest.project != here and manifest.checkout != environment.state.checkout:
        dealings.ask(f"{manifest.name} is a backup of the project {manifest.project}; this is {here}. Restore it here?")


def _migrate(environment: Environment, database: str, dealings: Dealings) -> list[str]:
    """Bring a restored database to the newest migration, where the user agrees."""
    if not environment.settings.project.alembic:
        return []
    applied = _applied(environment, database)
    if sorted(applied) == sorted(revisions.heads(environment)):
        return []
    directory = revisions.script_directory(environment.settings)
    known = {script.revision for script in directory.walk_revisions()}
    unknown = [revision for revision in applied if revision not in known]
    if unknown:
        dealings.ask(
            f"It is at revision {', '.join(unknown)}, which no migration here has: it was made by other code, or by"
            " newer. Put it in place as it is?"
        )
        return []
    dealings.ask(f"It is at revision {', '.join(applied) or 'none'}, older than the code here. Migrate it?")
    return [step.revision for step in migrate.upgrade(environment, database=database, allow_data_loss=True).steps]


def _applied(environment: Environment, database: str) -> list[str]:
    """The revisions of a restored database, read as the owner: in a stranger's their table may be a view.

    What such a view calls must not run as the superuser.
    """
    try:
        return migrate.current(environment, database)
    except psycopg.Error as error:
        table = environment.settings.project.version_table
        reason = str(error.diag.message_primary or error).rstrip(".")
        raise DrydockError(
            f"The restored {table} is not a version table of Alembic: {reason}.",
            hint="Rename it where the dump was made, or take the dump without it: pg_dump --exclude-table",
        ) from error


@contextmanager
def _told_of_redis(database: str) -> Iterator[None]:
    """Say of a failure of Redis that the database was replaced by then."""
    try:
        yield
    except DrydockError as error:
        message = f"{database} is restored, and Redis does not match it: {error.message}"
        hint = "invoke up flushes it; invoke undo takes the restore back"
        raise DrydockError(message, hint=hint) from error


def _redis(environment: Environment, entry: Entry, manifest: Manifest) -> str:
    """Make Redis match: from the backup where it has one, and empty otherwise."""
    if manifest.redis_keys is None:
        stale_redis.flush(environment)
        return "flushed"
    with load.unpacked(entry, manifest, redis_copy.FILE, encryption.sealing(environment.settings)) as stream:
        keys = redis_copy.load(environment, stream)
    if keys != manifest.redis_keys:
        raise DrydockError(f"Redis has {keys} keys of the {manifest.redis_keys} that were saved.")
    stale_redis.forget(environment.settings)
    return "restored"
