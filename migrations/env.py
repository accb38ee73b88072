"""Runs the migrations: finds the database, lets one migrator in at a time, and gives each revision a transaction.

What a caller may put into `config.attributes`:
    connection: a SQLAlchemy Connection to use; one that is inside a transaction stays inside it, uncommitted.
    url: the database to connect to.
    lock_wait: seconds to wait for another migrator, 60 unless told (`-x lock_wait=…` on the command line).
    migration_lock_held: true where the caller already keeps other migrators out.
"""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from logging.config import fileConfig
from typing import Any, Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext
from alembic.util import CommandError
from pgvector.sqlalchemy import VECTOR
from sqlalchemy import Connection, NullPool, create_engine, text

from app.db.policies import rewriter
from app.errors import SettingsError
from app.models import Base
from app.settings import Settings

LOCK_KEY = 0x616C656D62696331
"""The advisory lock of one database's migrators; the text `alembic1` as a bigint."""
LOCK_WAIT_SECONDS = 60.0
LOCK_POLL_SECONDS = 0.2
LOCK_TIMEOUT = "5s"
"""How long a migration may queue for a table: every query that comes later queues behind it."""

SETTINGS = {"lock_timeout": LOCK_TIMEOUT, "app.system_access": "migration"}
"""What holds while migrations run. The tables are isolated from their owner too: without the system's door a migration
that changes rows would find none, and say nothing."""

LOCK_HOLDER = text("""
    SELECT a.pid, coalesce(nullif(a.application_name, ''), 'no application_name')
    FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid)
    WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND (l.classid::bigint << 32 | l.objid::bigint) = :key
""")
GET = text("SELECT current_setting(:name, true)")
SET = text("SELECT set_config(:name, :value, :local)")


def named_url() -> str:
    """The URL that a caller, the command line or alembic.ini names, with the psycopg driver; empty where none does."""
    url = (
        context.config.attributes.get("url")
        or context.get_x_argument(as_dictionary=True).get("url")
        or context.config.get_main_option("sqlalchemy.url")
    )
    scheme, separator, rest = str(url or "").partition("://")
    return f"postgresql+psycopg://{rest}" if separator and scheme in {"postgres", "postgresql"} else str(url or "")


def configured() -> dict[str, Any]:
    """How the application's settings have the owner connect; read anew, for a command may come with its own.

    Raises:
        CommandError: they name no database, or cannot be used.
    """
    try:
        return Settings().migration()
    except SettingsError as error:
        raise CommandError(
            f"No database to migrate: set DATABASE_OWNER_URL or DATABASE_URL, or pass `-x url=…`. {error}"
        ) from error


def lock_wait() -> float:
    """Seconds to wait for another migrator.

    Raises:
        CommandError: the setting is no number of seconds.
    """
    given = context.get_x_argument(as_dictionary=True).get("lock_wait")
    value = context.config.attributes.get("lock_wait", LOCK_WAIT_SECONDS) if given is None else given
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = -1
    if not 0 <= seconds < math.inf:
        raise CommandError(f"lock_wait must be a number of seconds, not {value!r}.")
    return seconds


def render_item(kind: str, item: Any, autogen: AutogenContext) -> str | Literal[False]:
    """How autogenerate writes a vector column, with the import that it needs."""
    if kind == "type" and isinstance(item, VECTOR):
        autogen.imports.add("from pgvector.sqlalchemy import VECTOR")
        return f"VECTOR({item.dim or ''})"
    return False


def acquire(connection: Connection, function: str, wait: float) -> None:
    """Take the migrators' lock, polling for it, so that the wait has an end.

    Raises:
        CommandError: another session still holds it after `wait` seconds; the message names that session.
    """
    outer = connection.in_transaction()
    deadline = time.monotonic() + wait
    while not connection.scalar(text(f"SELECT {function}(:key)"), {"key": LOCK_KEY}):
        if time.monotonic() >= deadline:
            holder = connection.execute(LOCK_HOLDER, {"key": LOCK_KEY}).first()
            who = f"pid {holder[0]} ({holder[1]})" if holder else "a session that has just left"
            raise CommandError(f"Another migration is running: {who} held its lock for the {wait:g} s we waited.")
        if not outer:
            connection.rollback()
        time.sleep(LOCK_POLL_SECONDS)


@contextmanager
def only_migrator(connection: Connection) -> Iterator[None]:
    """Keep other migrators out, bound the wait for every table lock, and open all tenants' rows, until the block ends.

    A session lock outlives the transactions in between, also those that `autocommit_block` ends early. Where the
    caller's transaction is open already, lock and setting belong to it and end with it.
    """
    outer = connection.in_transaction()
    held = bool(context.config.attributes.get("migration_lock_held"))
    previous = {name: connection.scalar(GET, {"name": name}) or "" for name in SETTINGS}
    if not held:
        acquire(connection, "pg_try_advisory_xact_lock" if outer else "pg_try_advisory_lock", lock_wait())
    for name, value in SETTINGS.items():
        connection.execute(SET, {"name": name, "value": value, "local": outer})
    if outer:
        yield
        return
    connection.commit()
    try:
        yield
        connection.commit()
    finally:
        # A session that was lost took its lock and its settings with it.
        if not connection.invalidated:
            connection.rollback()
            for name, value in previous.items():
                connection.execute(SET, {"name": name, "value": value, "local": False})
            if not held:
                connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": LOCK_KEY})
            connection.commit()


def migrate(connection: Connection) -> None:
    """Run the command's migrations on a connection; `alembic current` only reads and takes no lock."""
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        transaction_per_migration=True,
        compare_type=True,
        compare_server_default=True,
        autogenerate_plugins=["alembic.autogenerate.*", "alembic.ext.checkconstraint_byname"],
        render_item=render_item,
        process_revision_directives=rewriter,
    )
    if context.get_context().opts.get("dont_mutate"):
        context.run_migrations()
        return
    with only_migrator(connection), context.begin_transaction():
        context.run_migrations()


def run_online() -> None:
    """Migrate on the caller's connection, or on one of our own that ends with us."""
    connection = context.config.attributes.get("connection")
    if connection is not None:
        migrate(connection)
        return
    url = named_url()
    arguments = {"fallback_application_name": "alembic", "connect_timeout": 10} | ({} if url else configured())
    engine = create_engine(url or "postgresql+psycopg://", poolclass=NullPool, connect_args=arguments)
    with engine.connect() as own:
        migrate(own)


def run_offline() -> None:
    """Write the migrations as SQL; this needs no database."""
    context.configure(
        dialect_name="postgresql",
        target_metadata=Base.metadata,
        literal_binds=True,
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        for name, value in SETTINGS.items():
            context.execute(f"SET {name} = '{value}'")
        context.run_migrations()


if context.config.cmd_opts is not None and context.config.config_file_name is not None:
    fileConfig(context.config.config_file_name, disable_existing_loggers=False)

if context.is_offline_mode():
    run_offline()
else:
    run_online()
