from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg
import pytest

from drydock.engine.processes import STOP_TIMEOUT
from drydock.recovery.archive import synchronous
from drydock.recovery.restores import branches
from tests import timeline
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.checkout import Checkout
    from tests.timeline import Numbers

INSERT = "INSERT INTO numbers VALUES (%s)"
SETTING = f"SHOW {synchronous.SETTING}"
WAITING = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'"


@pytest.fixture
def numbers(engine_name: str, make_checkout: Callable[..., Checkout]) -> Numbers:
    """A checkout whose commits wait for the archive, with a table."""
    made = make_checkout(ENGINE=engine_name, WAL_ARCHIVE="on", WAL_ARCHIVE_SYNCHRONOUS="on")
    return timeline.archived(made)


def test_commits_wait_for_the_archive_until_up_finds_that_none_may_come(numbers: Numbers) -> None:
    """Without an archiver a commit waits and status says so; the next `up` starts one; `off` ends the waiting."""
    shop = numbers.checkout
    assert shop.query(SETTING) == [(synchronous.STANDBY,)]
    # What is no commit, such as the end of a base backup, nobody waits for: the archive has it a moment later.
    told = "0 B behind, and commits wait for it"
    eventually(lambda: told in shop.run("status").stdout, told)
    with waiting(shop, 7):
        assert any("does not run, and commits wait for it" in problem for problem in timeline.complaints(shop))
        # What a task writes does not wait.
        shop.run("seed", "--size", "small")
        for task in (("migrate.down", "--yes"), ("migrate",), ("migrate.push",)):
            shop.run(*task, WAL_ARCHIVE_SYNCHRONOUS="off")  # which only `up` makes true
        assert "archive" not in shop.run("up").stderr
    shop.environment.engine.stop_archiver()
    shop.run("reset", "--rebuild")  # migrations among it
    shop.run("restore.undo")
    shop.run("up")
    assert shop.query(SETTING) == [(synchronous.STANDBY,)]
    assert numbers.all() == [7]

    with waiting(shop, 8):
        assert "nothing is archived" in shop.run("up", BACKUP_FOLDER="tasks.py/below").stderr
    assert shop.query(SETTING) == [("",)]
    shop.run("up")
    assert shop.query(SETTING) == [(synchronous.STANDBY,)]

    with waiting(shop, 9):
        shop.run("up", WAL_ARCHIVE_SYNCHRONOUS="off")
    shop.environment.engine.stop_archiver()
    _insert(shop, 10)
    assert numbers.all() == [7, 8, 9, 10]


def test_a_session_whose_end_waits_for_the_archive_keeps_no_server_up(numbers: Numbers) -> None:
    """Its temporary tables go with a commit, which nothing interrupts: `down` and `up` end the waiting themselves."""
    shop = numbers.checkout
    for task in ("up", "down"):
        shop.environment.engine.stop_archiver()
        with psycopg.connect(shop.environment.database_url(shop.environment.superuser), autocommit=True) as session:
            for statement in (
                "SET synchronous_commit = local",
                "CREATE TEMP TABLE mine ()",
                "RESET synchronous_commit",
            ):
                session.execute(statement)
        eventually(lambda: shop.query(WAITING), "the end of the session waits")
        begun = time.monotonic()
        shop.run(task)
        assert time.monotonic() - begun < STOP_TIMEOUT


def test_a_restore_and_a_branch_of_it(numbers: Numbers) -> None:
    """A branch is not archived, and its commits wait for nobody; what is restored waits for its own archiver."""
    shop = numbers.checkout
    numbers.add(1)
    numbers.archived()
    shop.run("backup.base")
    shop.run("restore", "--latest", "--branch", "other")
    there = branches.at(shop.environment, "other")
    with psycopg.connect(there.database_url(there.superuser), autocommit=True) as connection:
        connection.execute(INSERT, (2,))
    undone = numbers.add(3)
    numbers.archived()
    shop.run("restore", "--before-xid", undone, "--yes")
    assert shop.query(SETTING) == [(synchronous.STANDBY,)]
    _insert(shop, 4)
    assert numbers.all() == [1, 4]


def test_a_standby_of_somebody_else_is_left_alone(numbers: Numbers) -> None:
    """What the user has the server wait for is neither replaced nor reset; `up` says what that means."""
    shop = numbers.checkout
    shop.query(f"ALTER SYSTEM SET {synchronous.SETTING} = 'mine'")
    shop.query("SELECT pg_reload_conf()")
    shop.environment.engine.stop_archiver()
    told = shop.run("up").stderr
    assert f"{synchronous.SETTING} is 'mine': left as it is" in told
    assert any("commits do not wait for it, though" in problem for problem in timeline.complaints(shop))
    assert shop.query(f"SELECT setting FROM pg_file_settings WHERE name = '{synchronous.SETTING}'") == [("mine",)]


@contextmanager
def waiting(shop: Checkout, number: int) -> Iterator[None]:
    """Without an archiver, a commit that waits; the body is to end that."""
    shop.environment.engine.stop_archiver()
    writer = threading.Thread(target=_insert, args=(shop, number))
    writer.start()
    eventually(lambda: shop.query(WAITING), "the commit waits")
    yield
    writer.join(30)
    assert not writer.is_alive()


def _insert(shop: Checkout, number: int) -> None:
    """As an application does it: with the server's own synchronous_commit."""
    environment = shop.environment
    with psycopg.connect(environment.database_url(environment.superuser), autocommit=True) as connection:
        connection.execute(INSERT, (number,))
