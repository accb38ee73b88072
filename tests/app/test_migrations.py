"""The application's migrations, forth and back, alone and at once, and cut off."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from alembic import command
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from psycopg.conninfo import make_conninfo
from sqlalchemy import create_engine, inspect

from app.seeds import TABLES, seed
from tests.alembic_calls import ROOT, alembic_config, fresh_database
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.app.conftest import AppDatabase

LOCK_KEY = 0x616C656D62696331
ORGANIZATIONS, USERS = "54f891b6a421", "257e7187fcb1"
DEADLINE = 60.0


@pytest.fixture
def empty_url(postgres_superuser_url: str) -> Iterator[str]:
    """A database without a schema."""
    with fresh_database(postgres_superuser_url) as url:
        yield url


@pytest.fixture
def migrator(empty_url: str) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Starts `alembic upgrade head` as a process of its own; what still runs after the test is killed."""
    started: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        words = [sys.executable, "-m", "alembic", "upgrade", "head"]
        environ = {**os.environ, "DATABASE_OWNER_URL": empty_url, "PGAPPNAME": "alembic"}
        process = subprocess.Popen(words, cwd=ROOT, env=environ, stderr=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def value(connection: psycopg.Connection[Any], query: str, *arguments: object) -> Any:
    """The first column of the first row."""
    row = connection.execute(query.encode(), arguments).fetchone()
    assert row
    return row[0]


def await_value(connection: psycopg.Connection[Any], query: str, expected: object) -> None:
    """Ask until the answer is the expected one."""
    eventually(lambda: value(connection, query) == expected, query, DEADLINE)


def contents(url: str) -> dict[str, str]:
    """A digest of the rows of every table there is, but for columns that the server generates from others."""
    with psycopg.connect(url) as connection:
        tables = connection.execute("SELECT relname FROM pg_class WHERE relname = ANY(%s)", [[t.name for t in TABLES]])
        generated = "ARRAY(SELECT attname FROM pg_attribute WHERE attrelid = '{0}'::regclass AND attgenerated <> '')"
        digest = (
            "SELECT coalesce(md5(string_agg((to_jsonb(x) - " + generated + "::text[])::text, '|' ORDER BY id)), '')"
            " FROM {0} AS x"
        )
        return {name: value(connection, digest.format(name)) for (name,) in tables.fetchall()}


def test_the_models_and_the_migrations_agree(app_database: AppDatabase) -> None:
    """Autogenerate finds nothing to do at head."""
    command.check(alembic_config(app_database.owner_url))


def test_every_revision_goes_down_and_up_and_keeps_the_rest(app_database: AppDatabase) -> None:
    """On seeded data, each downgrade and each upgrade leaves the rows of all other tables as they were."""
    config, url = alembic_config(app_database.owner_url), app_database.superuser_url
    with psycopg.connect(app_database.owner_url) as connection:
        seed(connection)
    everything = before = contents(url)
    for revision in ScriptDirectory.from_config(config).walk_revisions():
        command.downgrade(config, "-1")
        left = contents(url)
        assert left.items() <= before.items(), revision.doc
        command.upgrade(config, "+1")
        assert left.items() <= contents(url).items(), revision.doc
        command.downgrade(config, "-1")
        before = left
    assert before == {}
    command.upgrade(config, "head")
    command.check(config)
    with psycopg.connect(app_database.owner_url) as connection:
        seed(connection)
    assert contents(url).keys() == everything.keys()


def test_four_migrators_at_once_all_succeed(empty_url: str, migrator: Callable[[], subprocess.Popen[str]]) -> None:
    """Released at one moment on an empty database, one migrates, the others find nothing to do."""
    with psycopg.connect(empty_url, autocommit=True) as gate:
        gate.execute("SELECT pg_advisory_lock(%s)", [LOCK_KEY])
        processes = [migrator() for _ in range(4)]
        arrived = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        await_value(gate, arrived, 4)
        gate.execute("SELECT pg_advisory_unlock(%s)", [LOCK_KEY])
        errors = [process.communicate(timeout=DEADLINE)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, errors
    command.check(alembic_config(empty_url))


def test_a_migrator_that_is_killed_leaves_nothing(
    empty_url: str, migrator: Callable[[], subprocess.Popen[str]]
) -> None:
    """SIGKILL in the middle of a revision, which waits for a table: its transaction is gone, the next run goes on."""
    command.upgrade(alembic_config(empty_url), ORGANIZATIONS)
    at, made = "SELECT version_num FROM alembic_version", "SELECT to_regclass('users') IS NOT NULL"
    others = " FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    with psycopg.connect(empty_url) as holder, psycopg.connect(empty_url, autocommit=True) as watcher:
        holder.execute("LOCK TABLE organizations IN ACCESS EXCLUSIVE MODE")
        process = migrator()
        await_value(watcher, f"SELECT count(*) {others} AND wait_event_type = 'Lock'", 1)
        process.kill()
        holder.rollback()
        # The server notices that nobody is there when it has something to say.
        await_value(watcher, f"SELECT count(*) {others} AND pid <> {holder.info.backend_pid}", 0)
        assert (value(watcher, at), value(watcher, made)) == (ORGANIZATIONS, False)
        assert value(watcher, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == 0
    again = migrator()
    assert again.communicate(timeout=DEADLINE)[1].count("Running upgrade") > 1
    assert again.returncode == 0
    command.check(alembic_config(empty_url))


def test_there_is_one_head() -> None:
    """The revisions form one line."""
    assert len(ScriptDirectory.from_config(alembic_config()).get_heads()) == 1


def test_going_down_leaves_the_extension_and_nothing_else(empty_url: str) -> None:
    """All tables and functions are gone at base; `vector` may be somebody else's and stays."""
    command.upgrade(alembic_config(empty_url), "head")
    command.downgrade(alembic_config(empty_url), "base")
    with psycopg.connect(empty_url) as connection:
        assert value(connection, "SELECT count(*) FROM pg_extension WHERE extname = 'vector'") == 1
        assert value(connection, "SELECT count(*) FROM pg_proc WHERE proname = 'set_updated_at'") == 0
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
    assert tables == [("alembic_version",)]


def test_the_offline_script_makes_the_same_schema(empty_url: str) -> None:
    """What `--sql` writes without a database brings an empty one to head."""
    config = alembic_config()
    command.upgrade(config, "head", sql=True)
    script = config.output_buffer
    assert isinstance(script, io.StringIO)
    with psycopg.connect(empty_url, autocommit=True) as connection:
        connection.execute(script.getvalue().encode())
    command.check(alembic_config(empty_url))


def test_the_offline_script_passes_the_linter(tmp_path: Path) -> None:
    """Squawk finds nothing beyond the rules excluded with a reason."""
    config = alembic_config()
    command.upgrade(config, "head", sql=True)
    script = tmp_path / "upgrade.sql"
    assert isinstance(config.output_buffer, io.StringIO)
    script.write_text(config.output_buffer.getvalue())
    squawk: list[str | Path] = [
        Path(sysconfig.get_path("scripts"), "squawk"),
        "--config",
        ROOT / ".squawk.toml",
        script,
    ]
    result = subprocess.run(squawk, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout


def test_a_missing_url_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names what to set."""
    monkeypatch.delenv("DATABASE_OWNER_URL", raising=False)
    monkeypatch.delenv("DATABASE_URL", raising=False)
    with pytest.raises(CommandError, match="set DATABASE_OWNER_URL or DATABASE_URL"):
        command.upgrade(alembic_config(), "head")


def test_the_owner_s_url_comes_before_the_application_s(empty_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Migrations run as the owner where the environment names both roles."""
    monkeypatch.setenv("DATABASE_OWNER_URL", empty_url)
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/nothing")
    command.upgrade(alembic_config(), "head")


def test_a_second_migrator_gives_up_and_names_the_first(empty_url: str) -> None:
    """The wait ends, and the error has the holder's pid and application_name."""
    with psycopg.connect(make_conninfo(empty_url, application_name="first")) as first:
        first.execute("SELECT pg_advisory_lock(%s)", [0x616C656D62696331])
        with pytest.raises(CommandError, match=rf"pid {first.info.backend_pid} \(first\).*0\.3 s"):
            command.upgrade(alembic_config(empty_url, lock_wait=0.3), "head")
        command.upgrade(alembic_config(empty_url, migration_lock_held=True), "head")


@pytest.mark.parametrize("wait", ["soon", -1, float("nan")])
def test_a_senseless_wait_is_refused(empty_url: str, wait: object) -> None:
    """lock_wait must be a number of seconds."""
    with pytest.raises(CommandError, match="number of seconds"):
        command.upgrade(alembic_config(empty_url, lock_wait=wait), "head")


def test_a_connection_of_the_caller_is_left_as_it_was(empty_url: str) -> None:
    """Migrations are committed; no lock and no setting stays behind."""
    engine = create_engine(empty_url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as connection:
        command.upgrade(alembic_config(connection=connection), "head")
        assert not connection.in_transaction()
        assert connection.exec_driver_sql("SHOW lock_timeout").scalar() == "0"
        locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
        assert connection.exec_driver_sql(locks).scalar() == 0
        connection.rollback()
        assert inspect(connection).has_table("messages")
    engine.dispose()


def test_a_transaction_of_the_caller_stays_open(empty_url: str) -> None:
    """The caller's rollback takes the whole migration back."""
    engine = create_engine(empty_url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as connection:
        transaction = connection.begin()
        command.upgrade(alembic_config(connection=connection), "head")
        assert transaction.is_active
        assert inspect(connection).has_table("messages")
        transaction.rollback()
        assert not inspect(connection).has_table("messages")
    engine.dispose()
