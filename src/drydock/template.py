"""Template databases, and the reset that clones one: build beside, swap by name, keep the old one as the way back."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import errors, sql

from drydock import fingerprint, migrate, postgres, redis_client, seed, stale_redis, subscriptions
from drydock.errors import DrydockError
from drydock.fault_points import Point, reached

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from drydock.environment import Environment

    Report = Callable[[str], None]

KEPT_TEMPLATES = 3  # as many branches as one switches between
KEPT_FOR_TESTS = 12  # there each branch has one for the schema and one for each size of seeds
# Names beside the application's database; settings.py leaves room for the longest of them.
BUILDING, COMING, PREVIOUS, LEAVING = "__building", "__coming", "__previous", "__leaving"


@dataclass(frozen=True)
class Reset:
    """What a reset did; `seconds` by phase, `previous` is where the replaced data went."""

    template: str
    built: bool
    previous: str
    seconds: dict[str, float]


def prefix(environment: Environment) -> str:
    """How the names of this application's templates begin."""
    return f"{environment.settings.database}__t_"


def ensure(
    environment: Environment,
    connection: postgres.Connection,
    size: str,
    *,
    rebuild: bool = False,
    report: Report,
    progress: seed.Progress | None = None,
) -> tuple[str, bool]:
    """The template for the current migrations and seeds: its name, and whether it had to be built.

    Without a `size` it is migrated and not seeded. A template is complete only once it is marked as one (IS_TEMPLATE,
    set last): a killed build is dropped and redone.

    Raises:
        DrydockError: where a migration or a seed fails; nothing is left of the template then.
    """
    name = prefix(environment) + fingerprint.compute(environment, size)
    complete = is_template(connection, name)
    if complete and not rebuild:
        touch(connection, name)
        return name, False
    reason = "rebuild asked for" if complete else "nothing fits the current migrations and seeds"
    report(f"building template {name}: {reason}")
    building = environment.settings.database + BUILDING
    drop(connection, building)
    postgres.create_database(environment, connection, building, task="reset")
    migrate.upgrade(environment, database=building)
    if size:
        seed.run(environment, size=size, database=building, progress=progress)
    if environment.settings.throwaway:
        _settle(environment, building)
    _finish(connection, building, name)
    _prune(environment, connection, keep=name)
    return name, True


def reset(
    environment: Environment, size: str, *, rebuild: bool, report: Report, progress: seed.Progress | None = None
) -> Reset:
    """Replace the application's database by a clone of the template, and flush Redis.

    The replaced database is kept under another name until the next reset is done; `undo` brings it back.

    Raises:
        DrydockError: where the template cannot be built; the application's database is untouched then.
    """
    redis_client.require(environment)
    begun = time.monotonic()
    live, coming = environment.settings.database, environment.settings.database + COMING
    with postgres.administer(environment) as connection:
        heal(environment, connection)
        template, built = ensure(environment, connection, size, rebuild=rebuild, report=report, progress=progress)
        ready = time.monotonic()
        # FILE_COPY: for a seeded database five to twelve times faster than PostgreSQL 15 to 17's default, WAL_LOG.
        clone(environment, connection, template, coming)
        cloned = time.monotonic()
        stale_redis.owe_with(environment, connection, coming)
        swap(connection, live, coming, task="reset")
        drop_behind(connection, live + LEAVING)
    stale_redis.flush(environment)
    seconds = {"template": ready - begun, "clone": cloned - ready, "swap": time.monotonic() - cloned}
    return Reset(template, built, live + PREVIOUS, seconds)


def undo(environment: Environment) -> str:
    """Exchange the application's database and the one that the last reset replaced; returns the latter's name.

    Raises:
        DrydockError: where there is none.
    """
    live = environment.settings.database
    previous, leaving = live + PREVIOUS, live + LEAVING
    redis_client.require(environment)
    with postgres.administer(environment) as connection:
        heal(environment, connection)
        if not postgres.exists(connection, previous):
            raise DrydockError("No reset to undo: no earlier database is kept.")
        stale_redis.owe_with(environment, connection, previous)
        with _closed(connection, live, previous), connection.transaction():
            rename(connection, previous, leaving)
            rename(connection, live, previous)
            rename(connection, leaving, live)
        reached(Point.DATABASES_SWAPPED)
    stale_redis.flush(environment)
    return previous


def heal(environment: Environment, connection: postgres.Connection) -> list[str]:
    """Finish or clear what a killed reset left behind; returns what was done, a clause each. Idempotent.

    The swap is one transaction, so the live name always exists; only helpers and closed doors can be left.
    """
    live, done = environment.settings.database, []
    for name in (live + BUILDING, live + COMING, live + LEAVING):
        if postgres.exists(connection, name):
            drop(connection, name)
            done.append(f"dropped the unfinished {name}")
    closed = connection.execute("SELECT FROM pg_database WHERE datname = %s AND NOT datallowconn", (live,)).rowcount
    if closed:
        admit(connection, live)
        done.append(f"opened {live} again")
    return done


def swap(connection: postgres.Connection, live: str, coming: str, *, task: str = "restore") -> None:
    """Give `coming` the name of `live`, whose database is kept as the previous one. Sessions are ended first.

    All renames happen in one transaction: a kill at any moment leaves the old database or the new one under the name.
    What was kept before gets the leaving name, to be dropped: until then there are two ways back rather than none.
    """
    previous, leaving = live + PREVIOUS, live + LEAVING
    with _closed(connection, live, previous, coming), connection.transaction():
        postgres.sign(connection, task)
        if postgres.exists(connection, previous):
            rename(connection, previous, leaving)
        rename(connection, live, previous)
        postgres.hand_over(connection, coming)
        rename(connection, coming, live)
    reached(Point.DATABASES_SWAPPED)


@contextmanager
def _closed(connection: postgres.Connection, *names: str) -> Iterator[None]:
    """Nobody is connected to these databases in the body; whatever becomes of it, people may be again afterwards."""
    close(connection, *_existing(connection, names))
    try:
        yield
    finally:
        admit(connection, *_existing(connection, names))


def _existing(connection: postgres.Connection, names: Iterable[str]) -> list[str]:
    return [name for name in names if postgres.exists(connection, name)]


def clone(environment: Environment, connection: postgres.Connection, template: str, name: str) -> None:
    """Create `name` as a copy of `template`, with the rights on the database itself: those are not copied."""
    connection.execute(
        sql.SQL(
            "CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY OWNER {} ALLOW_CONNECTIONS true IS_TEMPLATE false"
        ).format(sql.Identifier(name), sql.Identifier(template), sql.Identifier(environment.owner.name))
    )
    postgres.set_aside(connection, name)
    connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(name)))
    for rights, role in (("CONNECT, TEMPORARY", environment.app), ("CONNECT", environment.backup)):
        connection.execute(
            sql.SQL("GRANT {} ON DATABASE {} TO {}").format(
                sql.SQL(rights), sql.Identifier(name), sql.Identifier(role.name)
            )
        )


def drop(connection: postgres.Connection, name: str) -> None:
    """Drop a database of ours with whoever is connected to it; nothing happens where it does not exist."""
    if not postgres.exists(connection, name):
        return
    if is_template(connection, name):
        connection.execute(sql.SQL("ALTER DATABASE {} IS_TEMPLATE false").format(sql.Identifier(name)))
    subscriptions.drop(connection, name)
    connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def drop_behind(connection: postgres.Connection, name: str) -> None:
    """Have the server drop a database after we are gone, and close the connection.

    A drop mostly waits for a checkpoint. Nobody needs to watch that one: what becomes of it is seen by the next `up`
    or `reset`, and where the server was stopped meanwhile they drop what is left.
    """
    subscriptions.drop(connection, name)  # else nobody would see the server's refusal
    statement = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
    connection.pgconn.send_query(statement.as_bytes(connection))
    connection.pgconn.flush()
    connection.close()


def _settle(environment: Environment, building: str) -> None:
    """Do once what each clone would have to do for itself: no autovacuum runs where tests do."""
    with postgres.administer(environment, building) as connection:
        connection.execute("VACUUM (ANALYZE)")
    # The first session after that writes the catalogue's cache file (pg_internal.init), which a copy of the files takes
    # along: each clone's first connection takes 7 ms instead of 10.
    postgres.administer(environment, building).close()


def _finish(connection: postgres.Connection, building: str, name: str) -> None:
    """Close the finished database, name it and mark it; the mark is what makes it a template."""
    drop(connection, name)
    close(connection, building)
    rename(connection, building, name)
    touch(connection, name)
    connection.execute(sql.SQL("ALTER DATABASE {} IS_TEMPLATE true").format(sql.Identifier(name)))


def _prune(environment: Environment, connection: postgres.Connection, keep: str) -> None:
    """Drop the templates used longest ago."""
    rows = connection.execute(
        "SELECT datname FROM pg_database WHERE starts_with(datname, %s) AND datname <> %s"
        " ORDER BY datistemplate DESC, shobj_description(oid, 'pg_database') DESC NULLS LAST",
        (prefix(environment), keep),
    ).fetchall()
    kept = KEPT_FOR_TESTS if environment.settings.throwaway else KEPT_TEMPLATES
    for (name,) in rows[kept - 1 :]:
        drop(connection, str(name))


def touch(connection: postgres.Connection, name: str) -> None:
    """Record when a template was last used, in its comment: the server keeps no such time."""
    used = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())
    connection.execute(
        sql.SQL("COMMENT ON DATABASE {} IS {}").format(
            sql.Identifier(name), sql.Literal(f"drydock template, last used {used} UTC")
        )
    )


def is_template(connection: postgres.Connection, name: str) -> bool:
    """True where the database is a finished template."""
    return connection.execute("SELECT FROM pg_database WHERE datname = %s AND datistemplate", (name,)).rowcount > 0


def close(connection: postgres.Connection, *names: str) -> None:
    """Close databases to newcomers and end the sessions in them: neither a rename nor a clone works beside one."""
    for name in names:
        connection.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(sql.Identifier(name)))
    # The second argument waits, in milliseconds, until each backend is gone (manual 9.27.2).
    connection.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = ANY(%s)", (list(names),)
    )


def admit(connection: postgres.Connection, *names: str) -> None:
    """Open databases again."""
    for name in names:
        connection.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(sql.Identifier(name)))


def rename(connection: postgres.Connection, old: str, new: str) -> None:
    """Give a database of ours another name.

    Raises:
        DrydockError: where somebody uses it.
    """
    try:
        connection.execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(old), sql.Identifier(new)))
    except errors.ObjectInUse as error:
        raise DrydockError(
            f"{old} is still in use: {error.diag.message_detail}", hint="Close the sessions, then try again."
        ) from error
