"""Kills and full disks at every step of backup, verify and restore: old or new, never half; the next run goes on."""

from __future__ import annotations

import os
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from drydock.engine import POSTGRES
from drydock.fault_points import Point
from tests import small_disk
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.checkout import Checkout

COUNT = "SELECT count(*) FROM messages"
BACKUP, VERIFY, RESTORE = (
    [point for point in Point if point.startswith(word)] for word in ("backup", "verify", "restore")
)


@pytest.fixture(scope="module")
def shop(scratch: Checkout) -> Iterator[Checkout]:
    """A checkout with one proven backup of the seeded state, called `seeded`."""
    scratch.run("reset")
    scratch.run("backup", "--label", "seeded")
    yield scratch
    scratch.run("reset")


def listed(shop: Checkout) -> list[str]:
    return [str(item["name"]) for item in shop.json("backup.list")["backups"]]


def databases(shop: Checkout) -> set[str]:
    found = shop.query("SELECT datname FROM pg_database WHERE datname LIKE 'app%' AND NOT datistemplate")
    return {str(name) for (name,) in found}


@pytest.mark.parametrize("point", BACKUP)
def test_a_backup_killed_at_any_step_is_whole_or_not_there(shop: Checkout, point: Point) -> None:
    """SIGKILL: the listing shows the old ones or also the whole new one, and the next backup clears what was left."""
    before = listed(shop)
    killed = shop.run("backup", "--no-verify", "--label", "killed", code=-signal.SIGKILL, DRYDOCK_KILL_AT=point)
    assert killed.returncode == -signal.SIGKILL
    new = [name for name in listed(shop) if name not in before]
    assert len(new) == (1 if point is Point.BACKUP_NAMED else 0)
    for name in new:
        shop.run("backup.verify", name)
    shop.run("backup", "--no-verify")
    assert [path.name for path in (shop.root / "backups" / "dumps").glob(".*")] == []


@pytest.mark.parametrize("point", VERIFY)
def test_a_verification_killed_at_any_step_leaves_no_false_proof(shop: Checkout, point: Point) -> None:
    """SIGKILL: unproven until all of it was compared; the next verification drops the scratch database."""
    name = str(shop.json("backup", "--no-verify", "--label", "later")["name"])
    shop.run("backup.verify", name, code=-signal.SIGKILL, DRYDOCK_KILL_AT=point)
    (item,) = [item for item in shop.json("backup.list")["backups"] if item["name"] == name]
    assert bool(item["proven"]) is (point is Point.VERIFY_PROVEN)
    shop.run("backup.verify", name)
    assert not [database for database in databases(shop) if "__try_" in database]


@pytest.mark.parametrize("point", RESTORE)
def test_a_restore_killed_at_any_step_leaves_the_old_or_the_new(shop: Checkout, point: Point) -> None:
    """SIGKILL: the live database is as before, or the restored one, open to clients; the next restore is complete.

    Redis is flushed by the next `up` where the data is other data.
    """
    shop.run("restore", "seeded")
    shop.query("DELETE FROM messages WHERE role = 'assistant'")
    shop.redis("SET", "stale", "yes")
    ((before,),) = shop.query(COUNT)
    shop.run("restore", "seeded", code=-signal.SIGKILL, DRYDOCK_KILL_AT=point)
    swapped = point in {Point.RESTORE_SWAPPED, Point.RESTORE_REDIS_DONE}
    assert shop.query(COUNT) == [(1194 if swapped else before,)]
    shop.run("up")
    assert shop.redis("EXISTS", "stale") == ("0" if swapped else "1")
    if swapped:
        shop.run("restore.undo")
        assert shop.query(COUNT) == [(before,)]
    shop.run("restore", "seeded")
    assert shop.query(COUNT) == [(1194,)]
    assert shop.query("SELECT 1", role="app") == [(1,)]
    assert shop.json("status")["status"] == "pass"
    assert not list((shop.root / ".drydock").glob(".unfinished-*"))


@pytest.mark.parametrize("point", [Point.RESTORE_LOADED, Point.RESTORE_CHECKED])
def test_a_restore_beside_that_is_killed_leaves_no_database_of_that_name(shop: Checkout, point: Point) -> None:
    """SIGKILL: half a database would look like a whole one; the next restore clears it, and may use the name."""
    shop.run("restore", "seeded", "--into", "own", code=-signal.SIGKILL, DRYDOCK_KILL_AT=point)
    assert shop.query("SELECT 1 FROM pg_database WHERE datname = 'own'") == []
    assert shop.json("restore", "seeded", "--into", "own")["database"] == "own"
    assert databases(shop) <= {"app", "app__previous"}
    assert shop.query(COUNT, database="own") == [(1194,)]
    shop.query("DROP DATABASE own")


@pytest.mark.parametrize(("words", "marker"), [(("backup",), "dump"), (("restore", "seeded"), "restore")])
def test_a_server_that_dies_meanwhile_is_a_sentence(shop: Checkout, words: tuple[str, ...], marker: str) -> None:
    """SIGKILL of Postgres while it is read from or written to: an error, nothing half, and all well after `up`."""
    before = listed(shop)
    shop.query("SELECT pg_reload_conf()")
    process = shop.start(*words)
    stop_the_server_when_it_is_at_work(shop)
    out, err = process.communicate(timeout=120)
    assert process.returncode not in {0, None}, (out, err, marker)
    assert "Traceback" not in err
    assert "→" in err
    shop.run("up")
    assert listed(shop) == before
    assert shop.query(COUNT) == [(1194,)]
    assert not [database for database in databases(shop) if database.endswith("__coming")]


def stop_the_server_when_it_is_at_work(shop: Checkout) -> None:
    """Kill Postgres the hard way as soon as pg_dump or pg_restore is connected."""
    from drydock import postgres

    environment = shop.environment
    with postgres.administer(environment) as connection:
        working = "SELECT FROM pg_stat_activity WHERE application_name IN ('pg_dump', 'pg_restore')"
        eventually(lambda: connection.execute(working).rowcount, "pg_dump or pg_restore at work", 60)
    if environment.state.engine == "docker":
        environment.engine._container(POSTGRES).kill()  # type: ignore[attr-defined]
    else:
        server = environment.engine.servers[POSTGRES]  # type: ignore[attr-defined]
        os.kill(server.pid(environment.engine.volume(POSTGRES)), signal.SIGKILL)  # type: ignore[attr-defined]


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB."""
    disk = tmp_path / "a 'small' disk"
    with small_disk.mounted(disk, 1):
        yield disk


def test_a_full_disk_is_a_sentence_and_leaves_nothing(shop: Checkout, full_disk: Path) -> None:
    """Where the backup does not fit, the error says so, and what was written of it is removed."""
    told = shop.run("backup", code=None, BACKUP_FOLDER=str(full_disk))
    assert told.returncode in {1, 4}
    assert "No space left on device" in told.stderr
    assert list((full_disk / "dumps").iterdir()) == []


def test_a_folder_that_cannot_be_written_to_is_a_sentence(shop: Checkout, full_disk: Path) -> None:
    """A read-only backups folder: the error names it; listing what is in it still works."""
    subprocess.run(["mount", "-o", "remount,ro", str(full_disk)], check=True)
    told = shop.run("backup", code=None, BACKUP_FOLDER=str(full_disk))
    assert told.returncode == 4
    assert "Read-only file system" in told.stderr
    assert shop.json("backup.list", BACKUP_FOLDER=str(full_disk))["backups"] == []


def test_backups_work_where_paths_are_odd(any_engine: str, make_checkout: Callable[..., Checkout]) -> None:
    """Spaces, quotes, a comma and a percent sign in the checkout's path."""
    shop = make_checkout('it\'s, 100% "a" test', ENGINE=any_engine)
    shop.run("up")
    shop.run("backup")
    shop.query("DELETE FROM messages")
    shop.run("restore")
    assert shop.query(COUNT) == [(1194,)]
