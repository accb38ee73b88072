"""Alembic migrations of a database: under a lock, one transaction each, with a sentence when one fails."""

from __future__ import annotations

import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from drydock import losses, postgres, revisions
from drydock.errors import DrydockError, MigrationError
from drydock.settings import exported

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from alembic.script import ScriptDirectory

    from drydock.environment import Environment
    from drydock.settings import Settings

# migrations/env.py takes the same session lock, so that a bare `alembic upgrade` and drydock exclude each other.
LOCK_KEY = 0x616C656D62696331
FIRST_POLL, LAST_POLL = 0.05, 0.5


@dataclass(frozen=True)
class Step:
    """One migration that ran: its revision, its title, how many seconds it took, and what it says it destroys."""

    revision: str
    title: str
    seconds: float
    destroys: str = ""


@dataclass(frozen=True)
class Migrated:
    """What an upgrade or downgrade did."""

    before: list[str]
    after: list[str]
    steps: list[Step] = field(default_factory=list)


def upgrade(
    environment: Environment, *, target: str = "head", database: str = "", allow_data_loss: bool = False
) -> Migrated:
    """Bring `database` (default: the application's) up to `target`.

    Raises:
        RefusedError: where a migration would lose data, does not say so, and no loss is allowed. A database without
            a migration is exempt: what it loses, it has just been given.
        MigrationError: for two heads, a revision no file has, a lock that is not free in time, or a failing migration;
            every migration before a failing one is kept, nothing of the failing one is.
    """
    if not environment.settings.project.alembic:
        return Migrated([], [])
    refuse_two_heads(environment)
    # As Alembic's own documentation of EnvironmentContext plans an upgrade.
    return _move(
        environment,
        database,
        lambda script, now: script._upgrade_revs(target, now),  # noqa: SLF001
        allow_data_loss=allow_data_loss,
    )


def downgrade(environment: Environment, *, target: str = "-1", database: str = "") -> Migrated:
    """Take migrations back down to `target`: a revision, a number such as -1, or base.

    Raises:
        MigrationError: as for upgrade.
    """
    return _move(
        environment,
        database,
        lambda script, now: script._downgrade_revs(target, now),  # noqa: SLF001
        allow_data_loss=True,
    )


def current(environment: Environment, database: str = "") -> list[str]:
    """The revisions the database is at; several only between branches."""
    with postgres.connect(environment, environment.owner, database) as connection:
        return revisions.applied(environment.settings, connection)


def refuse_two_heads(environment: Environment) -> None:
    """Stop before anything is changed where two branches of migrations were not merged.

    Raises:
        MigrationError: naming the heads.
    """
    heads = revisions.heads(environment)
    if len(heads) < 2:  # noqa: PLR2004 - one head or none
        return
    script = revisions.script_directory(environment.settings)
    named = " and ".join(f"{head} ({_title(script, head)})" for head in heads)
    raise MigrationError(
        f"The migrations have {len(heads)} heads: {named}.", hint='invoke migrate.new --merge -m "merge"'
    )


@contextmanager
def lock(environment: Environment, database: str = "") -> Iterator[postgres.Connection]:
    """Hold the migration lock of `database` for the body; yields the connection that holds it.

    A session lock, not a transaction's: CREATE INDEX CONCURRENTLY ends the transaction it runs in.

    Raises:
        MigrationError: where another session still holds it after LOCK_TIMEOUT.
    """
    deadline, pause = time.monotonic() + environment.settings.lock_timeout, FIRST_POLL
    with postgres.connect(environment, environment.owner, database) as connection:
        postgres.prove_ours(environment, connection)
        while connection.execute("SELECT pg_try_advisory_lock(%s)", (LOCK_KEY,)).fetchone() != (True,):
            if time.monotonic() > deadline:
                raise MigrationError(
                    f"Another migration is running: {_lock_holder(connection)}.",
                    hint="Wait for it, or raise LOCK_TIMEOUT.",
                )
            time.sleep(pause)
            pause = min(pause * 2, LAST_POLL)
        yield connection


_HOLDER = """
SELECT a.pid, a.application_name, to_char(a.backend_start, 'HH24:MI:SS TZ')
FROM pg_locks l JOIN pg_stat_activity a USING (pid)
WHERE l.locktype = 'advisory' AND l.granted AND a.datname = current_database()
  AND (l.classid::bigint << 32) | l.objid::bigint = %s
"""


def _lock_holder(connection: postgres.Connection) -> str:
    row = connection.execute(_HOLDER, (LOCK_KEY,)).fetchone()
    if row is None:
        return "it has just ended"
    return f"server process {row[0]} of {row[1] or 'an unnamed client'}, connected since {row[2]}"


def _move(
    environment: Environment,
    database: str,
    plan: Callable[[ScriptDirectory, Any], Any],
    *,
    allow_data_loss: bool,
) -> Migrated:
    with lock(environment, database) as connection:
        before = current(environment, database)
        script = revisions.script_directory(environment.settings)
        _refuse_unknown(script, connection, before)
        steps: list[Step] = []
        running: list[Any] = []

        def timed(now: Any, context: Any) -> Iterator[Any]:
            for step in plan(script, now):
                begun = time.monotonic()
                running[:] = [step]
                step.migration_fn = _signed(step, context)
                yield step
                done = _one_revision(step)
                marked = str(getattr(step.revision.module, losses.MARK, "")) if step.is_upgrade else ""
                steps.append(Step(done, step.doc or "", time.monotonic() - begun, marked))
                _remember(environment, connection, done, step)

        guard = losses.guarded(
            lambda: running[0].revision if running else None,
            version_table=environment.settings.project.version_table,
            allowed=allow_data_loss or not before,
        )
        try:
            with guard:
                run_environment(environment, script, timed, database)
        except Exception as error:
            raise _failure(error, running, current(environment, database)) from error
        return Migrated(before, current(environment, database), steps)


def _signed(step: Any, context: Any) -> Callable[..., None]:
    """A migration that first says in the WAL which one it is, within its own transaction."""
    original = step.migration_fn

    def run(**arguments: Any) -> None:
        words = postgres.signature(f"migrate ({_one_revision(step)})")
        message = "SELECT pg_logical_emit_message(true, 'drydock', %(words)s)"
        context.connection.exec_driver_sql(message, {"words": words})
        original(**arguments)

    return run


def run_environment(environment: Environment, script: ScriptDirectory, plan: Any, database: str = "") -> None:
    """Run the project's env.py with `plan` as what it migrates, connected as the owner role."""
    from alembic.runtime.environment import EnvironmentContext

    url = environment.database_url(environment.owner, database)
    config = revisions.configuration(environment.settings, url)
    # env.py connects by itself.
    names = {"DATABASE_URL": url, "DATABASE_OWNER_URL": url, "PGOPTIONS": postgres.session_options(environment)}
    with exported(names), EnvironmentContext(config, script, fn=plan, as_sql=False):
        script.run_env()


def _refuse_unknown(script: ScriptDirectory, connection: postgres.Connection, now: list[str]) -> None:
    from alembic.util import CommandError

    for revision in now:
        try:
            script.get_revision(revision)
        except CommandError:
            story = postgres.facts(connection, [f"revision:{revision}"]).get(
                f"revision:{revision}", "its title was not recorded"
            )
            raise MigrationError(
                f"The database is at revision {revision} ({story}), which no file in {script.dir} has.",
                hint="Switch to the branch that has it, or go back to this branch's data: invoke reset",
            ) from None


def _remember(environment: Environment, connection: postgres.Connection, revision: str, step: Any) -> None:
    """Note in the database what a revision is: on another branch its file will be gone."""
    if step.is_upgrade:
        branch = git_branch(environment.settings)
        postgres.note(
            connection, f"revision:{revision}", f"“{step.doc}”" + (f", from branch {branch}" if branch else "")
        )


def git_branch(settings: Settings) -> str:
    """The checked-out git branch; empty outside a repository or without git."""
    command = ["git", "-C", str(settings.root), "symbolic-ref", "--quiet", "--short", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except FileNotFoundError:
        return ""


def _one_revision(step: Any) -> str:
    return str(step.revision.revision)


def _failure(error: Exception, running: list[Any], stays_at: list[str]) -> DrydockError:
    if isinstance(error, DrydockError):
        return error
    if not running:
        return MigrationError(
            f"Alembic could not start: {cause(error)}.", hint="Check migrations/env.py and alembic.ini."
        )
    step = running[0]
    return MigrationError(
        f"Migration {_one_revision(step)} ({step.doc}) failed: {cause(error)}.",
        left=f"Nothing of it was kept; the database is at {', '.join(stays_at) or 'the beginning'}.",
        hint="Correct the migration, then: invoke migrate",
    )


def cause(error: Exception) -> str:
    """The server's own message where there is one: SQLAlchemy wraps it in the statement and a link."""
    original = getattr(error, "orig", None) or error
    primary = getattr(getattr(original, "diag", None), "message_primary", None)
    return (
        str(primary or original).strip().splitlines()[0].rstrip(".")
        if str(original).strip()
        else type(original).__name__
    )


def _title(script: ScriptDirectory, revision: str) -> str:
    found = script.get_revision(revision)
    return found.doc if found else ""
