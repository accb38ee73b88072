"""Kills and full disks at every step of base backups and retention: old or new, never half; the next run goes on."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from drydock.fault_points import Point
from drydock.recovery.archive.catalogue import Catalogue
from drydock.recovery.bases import base
from drydock.recovery.upkeep import attendant, overview
from tests import small_disk
from tests.checkout import Checkout
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drydock.recovery.archive.folders import Archive

COPYING = (Point.BASE_BEGUN, Point.BASE_WRITTEN, Point.BASE_DESCRIBED, Point.BASE_NAMED)
PROVING = (Point.BASE_UNPACKED, Point.BASE_PROVEN)
EXPIRING = (Point.EXPIRE_FORGOTTEN, Point.EXPIRE_REMOVED)
EXPIRE = """
import sys
from datetime import UTC, datetime
from dataclasses import replace
from pathlib import Path
from drydock.environment import open_existing
from drydock.recovery.bases import base
from drydock.recovery.upkeep import retention
environment = open_existing(Path(sys.argv[1]))
settings = replace(environment.settings, recovery_window=0.0, recovery_disk=0)
retention.expire(settings, base.archive_of(environment), writing=environment.state.part, now=datetime.now(UTC))
"""


@pytest.fixture(scope="module")
def shop(any_engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    """A checkout with an archive, whose attendant has done its work."""
    made = Checkout(tmp_path_factory.mktemp("faults") / "shop", ENGINE=any_engine, WAL_ARCHIVE="on")
    made.run("up")
    await_attendant(made)
    yield made
    made.remove()


def await_attendant(checkout: Checkout) -> None:
    eventually(lambda: step(checkout) in {attendant.DONE, attendant.FAILED}, "the attendant's end", 120)


def step(checkout: Checkout) -> str:
    """What its attendant is at; nothing where there was none."""
    doing = attendant.look(checkout.environment.settings)
    return doing.step if doing else ""


def archive(checkout: Checkout) -> Archive:
    return base.archive_of(checkout.environment)


@pytest.mark.parametrize("point", COPYING)
def test_a_base_backup_killed_at_any_step_is_whole_or_not_there(shop: Checkout, point: Point) -> None:
    """SIGKILL: what is listed can be read to its end, and the next one clears what was left, slots included."""
    before = [one.name for one in base.bases(archive(shop))]
    shop.run("backup.base", code=-signal.SIGKILL, DRYDOCK_KILL_AT=point)
    after = [one.name for one in base.bases(archive(shop))]
    assert len(after) - len(before) == (point is Point.BASE_NAMED)
    shop.run("backup.base", "--no-verify")
    assert list(archive(shop).bases.glob(".*")) == []
    assert shop.query("SELECT count(*) FROM pg_replication_slots WHERE temporary") == [(0,)]
    assert "is what was written" in shop.run("archive.verify").stdout


@pytest.mark.parametrize("point", PROVING)
def test_a_proof_killed_at_any_step_is_none_or_true(shop: Checkout, point: Point) -> None:
    """SIGKILL: unproven until every file was compared; the next run proves it."""
    shop.run("backup.base", code=-signal.SIGKILL, DRYDOCK_KILL_AT=point)
    assert base.bases(archive(shop))[-1].proven is (point is Point.BASE_PROVEN)
    shop.run("archive.verify")
    assert base.bases(archive(shop))[-1].proven
    assert list(archive(shop).bases.glob(".*")) == []


@pytest.mark.parametrize("point", EXPIRING)
def test_retention_killed_at_any_step_leaves_no_base_backup_without_its_wal(shop: Checkout, point: Point) -> None:
    """SIGKILL: the last good chain is whole, and the next run removes the rest."""
    shop.run("backup.base")
    command = [sys.executable, "-c", EXPIRE, str(shop.root)]
    killed = subprocess.run(command, env={**shop.environ, "DRYDOCK_KILL_AT": point}, check=False)
    assert killed.returncode == -signal.SIGKILL
    subprocess.run(command, env=shop.environ, check=True)
    (left,) = base.bases(archive(shop))
    stored = archive(shop).segments(left.part)
    assert min(one.segment.start for one in stored) <= left.start < min(one.segment.end for one in stored)
    assert Catalogue(archive(shop)).bases() == [left.name]
    assert "is what was written" in shop.run("archive.verify").stdout


def test_an_attendant_that_is_killed_is_followed_by_another(shop: Checkout) -> None:
    """SIGKILL in the midst of its work: status says so, and `up`, which has nothing else to do, starts the next."""
    environment = shop.environment
    for folder in base.folders(archive(shop)):
        (folder / "base.json").unlink(missing_ok=True)
    attendant.spawn(environment)
    eventually(lambda: step(shop) == attendant.COPYING, "copying", 60)
    os.killpg(attendant.look(environment.settings).pid, signal.SIGKILL)  # type: ignore[union-attr]
    eventually(lambda: not attendant.look(environment.settings).working, "killed")  # type: ignore[union-attr]
    (check,) = [check for check in shop.json("status")["checks"] if check["name"] == overview.BASE]
    assert (check["status"], check["fix"]) == ("warn", "invoke backup.base")
    assert "ended while taking a base backup" in check["detail"]
    assert "nothing to do" in shop.run("up").stdout
    await_attendant(shop)
    assert [one.proven for one in base.bases(archive(shop))] == [True]


def test_an_attendant_that_is_killed_before_it_begins_is_not_starting_for_ever(shop: Checkout) -> None:
    """Started, it is no complaint that there is no base backup yet; dead before it said a word, it is."""
    settings = shop.environment.settings
    for folder in base.folders(archive(shop)):
        (folder / "base.json").unlink(missing_ok=True)
    with attendant.alone(settings.folder):  # it waits for this before it begins
        attendant.spawn(shop.environment)
        doing = attendant.look(settings)
        assert doing is not None
        assert doing.step == attendant.STARTING
        assert base_check(shop) == ("pass", "none yet")
        os.kill(doing.pid, signal.SIGKILL)
        eventually(lambda: not attendant.look(settings).working, "killed")  # type: ignore[union-attr]
        assert base_check(shop) == ("warn", "none yet")
    attendant.spawn(shop.environment)
    await_attendant(shop)
    assert [one.proven for one in base.bases(archive(shop))] == [True]


def test_one_that_has_not_begun_is_ended_as_well(shop: Checkout) -> None:
    """A process that holds nothing yet but what it was started with."""
    folder = shop.environment.settings.folder
    with (folder / attendant.NEW).open("w", encoding="utf-8") as lock:
        fcntl.flock(lock.fileno(), fcntl.LOCK_EX)
        starting = subprocess.Popen(["sleep", "60"], start_new_session=True, pass_fds=[lock.fileno()])
        lock.write(f"{starting.pid}\n")
    assert attendant.look(shop.environment.settings).step == attendant.STARTING  # type: ignore[union-attr]
    assert attendant.stop(shop.environment.settings)
    assert starting.wait(10) == -signal.SIGTERM


def base_check(checkout: Checkout) -> tuple[str, str]:
    """What `status` says of the base backups."""
    (check,) = [check for check in checkout.json("status")["checks"] if check["name"] == overview.BASE]
    return check["status"], check["detail"]


@pytest.fixture
def full_disk(shop: Checkout) -> Iterator[None]:
    """The folder of base backups lies on a file system of 1 MB."""
    with small_disk.mounted(archive(shop).bases, 1):
        yield


@pytest.mark.usefixtures("full_disk")
def test_a_full_disk_is_a_sentence_and_leaves_nothing(shop: Checkout) -> None:
    """By hand and by the attendant: the error says so, status too, and what was written is removed."""
    told = shop.run("backup.base", code=None)
    assert told.returncode in {1, 4}
    assert "No space left on device" in told.stderr
    assert list(archive(shop).bases.iterdir()) == []
    attendant.spawn(shop.environment)
    eventually(lambda: step(shop) == attendant.FAILED, "failed", 60)
    (check,) = [check for check in shop.json("status")["checks"] if check["name"] == overview.BASE]
    assert check["status"] == "warn"
    assert "No space left on device" in check["detail"]
    assert shop.query("SELECT 1") == [(1,)]
