"""backup.schedule with a real crontab and a real cron daemon, in a checkout whose path is as odd as paths get."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from drydock.backup.catalogue import Catalogue
from drydock.backup.scheduling import automation
from drydock.backup.scheduling.schedulers.cron import DAEMONS
from drydock.lock import locked
from drydock.settings import Settings
from tests.backups import make_backup
from tests.checkout import Checkout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

THEIRS = b"# mine\nMAILTO=ann@example.org\n\n7 7 * * 1-5 echo 100 \\% \xff  # \xc3\xbc\n"
REBOOTED = Path("/run/crond.reboot")  # Debian's cron makes it when it has run the @reboot entries


@pytest.fixture(scope="module")
def shop(any_engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    """A running checkout without migrations, for Alembic takes no % in a path."""
    checkout = Checkout(tmp_path_factory.mktemp("shop") / '100 %d of "Ann\'s" $HOME', ENGINE=any_engine, TZ="UTC")
    shutil.rmtree(checkout.root / "migrations")
    (checkout.root / "alembic.ini").unlink()
    (checkout.root / "pyproject.toml").write_text('[tool.drydock]\nname = "shop"\n')
    checkout.run("up")
    yield checkout
    checkout.remove()


@pytest.fixture
def crontab() -> Iterator[Callable[[], bytes]]:
    """The user's crontab, holding THEIRS; put back as it was at the end."""
    _require(shutil.which("crontab"), "crontab (Debian: cron)")
    before = subprocess.run(["crontab", "-l"], capture_output=True, check=False).stdout
    subprocess.run(["crontab", "-"], input=THEIRS, check=True)
    yield lambda: subprocess.run(["crontab", "-l"], capture_output=True, check=False).stdout
    subprocess.run(["crontab", "-" if before else "-r"], input=before, check=True)


@pytest.fixture
def cron() -> Iterator[Callable[[], None]]:
    """Starts a cron daemon as after a reboot, and ends it."""
    daemon = shutil.which("cron", path="/usr/sbin:/sbin:/usr/bin")
    _require(daemon and os.geteuid() == 0, "cron's daemon, as root")
    if {process.info["name"] for process in psutil.process_iter(["name"])} & DAEMONS:
        pytest.skip("a cron daemon of this machine is running, and what it does at its start is under test")
    REBOOTED.unlink(missing_ok=True)
    processes: list[subprocess.Popen[bytes]] = []
    yield lambda: processes.append(subprocess.Popen([daemon or "cron", "-f"]))
    for process in processes:
        process.terminate()
        process.wait(timeout=10)


def _require(there: object, what: str) -> None:
    if not there and os.environ.get("CI"):
        pytest.fail(f"CI must have {what}")
    if not there:
        pytest.skip(f"this needs {what}")


@pytest.fixture
def scheduled(shop: Checkout, crontab: Callable[[], bytes]) -> Iterator[Checkout]:
    """The checkout without a schedule or backups, before and after; the crontab is put back with THEIRS still in it."""
    yield shop
    shop.run("backup.schedule", "off")
    shutil.rmtree(shop.root / "backups" / "dumps", ignore_errors=True)
    shutil.rmtree(shop.root / ".drydock" / "backup", ignore_errors=True)
    assert crontab() == THEIRS


def record(shop: Checkout) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((shop.root / ".drydock/backup/schedule.json").read_text())
    return found


def since(shop: Checkout, **ago: float) -> None:
    """Let the schedule have been turned on earlier."""
    path = shop.root / ".drydock/backup/schedule.json"
    moment = datetime.now(UTC) - timedelta(**ago)
    path.write_text(json.dumps({**record(shop), "since": moment.isoformat()}))


def complaint(shop: Checkout) -> dict[str, Any]:
    """What doctor says of the schedule."""
    checks = shop.json("doctor", code=None)["checks"]
    return next(check for check in checks if check["name"] == automation.CHECK)


def wait_for_log(shop: Checkout, seconds: float) -> str:
    """The log's first line, once there is one."""
    path, deadline = shop.root / ".drydock/backup/backup.log", time.monotonic() + seconds
    while not path.exists():
        output = path.with_name("scheduler.log")
        assert time.monotonic() < deadline, output.read_text() if output.exists() else "nothing was started"
        time.sleep(0.05)
    return path.read_text()


def test_on_and_off_leave_the_crontab_as_it_was(scheduled: Checkout, crontab: Callable[[], bytes]) -> None:
    """The schedule is one block, another replaces it, off takes it away: other lines stay byte for byte."""
    scheduled.run("backup.schedule", "daily", "03:00")
    once = crontab()
    assert once.startswith(THEIRS)
    assert once.count(b"# drydock ") == 2
    assert scheduled.environment.settings.backup_password.encode() not in once
    scheduled.run("backup.schedule", "sunday", "4:30")
    assert crontab().count(b"\n30 * * * * ") == 1
    scheduled.run("backup.schedule", "daily", "03:00")
    assert crontab() == once
    assert scheduled.json("backup.schedule", "show")["schedule"] == "daily 03:00"
    assert scheduled.json("backup.schedule", "off") == {"was_on": True}
    assert crontab() == THEIRS
    assert scheduled.json("backup.schedule", "off") == {"was_on": False}
    assert scheduled.json("backup.schedule", "show") == {"schedule": None}
    assert scheduled.json("backup.scheduled")["detail"] == "there is no schedule"


def test_two_checkouts_share_a_crontab(
    scheduled: Checkout, crontab: Callable[[], bytes], make_checkout: Callable[..., Checkout]
) -> None:
    """Each has its own block, and turns off its own alone."""
    other = make_checkout()
    state = json.loads((scheduled.root / ".drydock/state.json").read_text())
    (other.root / ".drydock").mkdir()
    theirs = {**state, "checkout": "0f0f0f0f", "root": str(other.root)}
    (other.root / ".drydock/state.json").write_text(json.dumps(theirs))
    scheduled.run("backup.schedule", "daily", "03:00")
    alone = crontab()
    other.run("backup.schedule", "hourly")
    assert crontab().startswith(alone)
    assert crontab().count(b"# drydock ") == 4
    other.run("backup.schedule", "off")
    assert crontab() == alone
    (other.root / ".drydock/state.json").unlink()


def test_words_that_are_no_schedule_change_nothing(scheduled: Checkout, crontab: Callable[[], bytes]) -> None:
    """What is no schedule is refused, and the crontab is not touched."""
    for words in (["daily"], ["daily", "25:00"], ["yearly"], ["off", "03:00"]):
        assert scheduled.run("backup.schedule", *words, code=None).returncode != 0
        assert crontab() == THEIRS


def test_cron_makes_up_for_a_missed_night_when_it_starts(scheduled: Checkout, cron: Callable[[], None]) -> None:
    """After a night off, cron's start makes the backup: proven, logged privately, and none twice."""
    scheduled.run("backup.schedule", "daily", "00:00")
    since(scheduled, days=2)
    late = scheduled.json("status", BACKUP_MAX_AGE="20")
    assert [check["name"] for check in late["checks"] if check["status"] == "warn"] == ["backup:age"]
    cron()
    line = wait_for_log(scheduled, 60)
    assert " made: " in line
    entries = Catalogue(scheduled.root / "backups/dumps").entries()
    assert [bool(entry.proof) for entry in entries] == [True]
    assert entries[0].name in line
    for name in ("backup.log", "scheduler.log", "schedule.json", "scheduled.sh"):
        assert (scheduled.root / ".drydock/backup" / name).stat().st_mode & 0o777 == 0o600
    assert scheduled.json("backup.scheduled")["detail"] == "no backup is due"
    assert scheduled.json("status", BACKUP_MAX_AGE="20")["status"] == "pass"
    assert "the last one" not in scheduled.run("doctor").stdout


def test_cron_makes_the_backup_at_its_minute(scheduled: Checkout, cron: Callable[[], None]) -> None:
    """What is scheduled for the next minute is made in it, and old backups go by the settings."""
    old = make_backup(scheduled.root / "backups/dumps", datetime(2020, 1, 1, tzinfo=UTC), proven=False)
    soon = datetime.now(UTC) + timedelta(seconds=61)
    scheduled.run("backup.schedule", "daily", f"{soon:%H:%M}")
    cron()  # not before: cron takes no notice of two changes of a crontab within one second
    line = wait_for_log(scheduled, 75)
    assert " made: " in line
    assert datetime.fromisoformat(line.split()[0]) >= soon.replace(second=0, microsecond=0)
    assert old.path.exists()  # of another database: kept as the last one of that


def test_servers_that_are_down_are_not_started(scheduled: Checkout) -> None:
    """The run is skipped with one line, exit code 0, and made up for once they are up."""
    scheduled.run("backup.schedule", "daily", "00:00")
    since(scheduled, days=2)
    scheduled.run("down")
    try:
        assert scheduled.json("backup.scheduled")["outcome"] == "skipped"
        assert scheduled.json("backup.scheduled")["outcome"] == "skipped"
        assert wait_for_log(scheduled, 1).count("skipped: Postgres does not run") == 1
    finally:
        scheduled.run("up")
    assert scheduled.json("backup.scheduled")["outcome"] == "made"


def test_a_failing_backup_is_tried_three_times_and_told(scheduled: Checkout) -> None:
    """Each failure has its line and an exit code; the fourth try waits for the next night; doctor tells."""
    scheduled.run("backup.schedule", "daily", "00:00")
    since(scheduled, days=2)
    dumps = scheduled.root / "backups/dumps"
    dumps.parent.mkdir(exist_ok=True)
    dumps.write_text("in the way")
    for _ in range(3):
        scheduled.run("backup.scheduled", code=4)
    assert scheduled.json("backup.scheduled")["outcome"] == "not due"
    assert wait_for_log(scheduled, 1).count(" failed: ") == 3
    assert complaint(scheduled)["detail"].startswith("the last one failed: ")
    dumps.unlink()
    path = scheduled.root / ".drydock/backup/schedule.json"
    path.write_text(json.dumps({**record(scheduled), "failures": 2}))
    assert scheduled.json("backup.scheduled")["outcome"] == "made"
    assert "failed" not in complaint(scheduled)["detail"]


def test_a_destroyed_environment_is_skipped(make_checkout: Callable[..., Checkout]) -> None:
    """Where there is no environment any more, a run that the schedule still starts says so once, with exit code 0."""
    shop = make_checkout()
    turned_on = datetime.now(UTC) - timedelta(days=2)
    known = automation.Record(
        schedule="daily 00:00", scheduler="cron", root=str(shop.root), python="python", since=turned_on.isoformat()
    )
    automation.write(Settings(root=shop.root), known)
    assert [shop.json("backup.scheduled")["outcome"] for _ in range(2)] == ["skipped", "skipped"]
    assert wait_for_log(shop, 1).count("has no environment") == 1


def test_a_second_run_leaves_the_first_alone(scheduled: Checkout) -> None:
    """While one run is at work another one does nothing, and says so."""
    scheduled.run("backup.schedule", "daily", "00:00")
    since(scheduled, days=2)
    with locked(scheduled.root / ".drydock/backup", "backup.scheduled", timeout=0, report=lambda _: None):
        second = scheduled.json("backup.scheduled")
    assert second == {"outcome": "not due", "detail": "one is being made"}
    assert not (scheduled.root / "backups/dumps").exists()


def test_doctor_says_why_a_schedule_is_not_kept(scheduled: Checkout, crontab: Callable[[], bytes]) -> None:
    """An entry that somebody deleted, a Python that is gone, a checkout that moved: each with its fix."""
    scheduled.run("backup.schedule", "daily", "03:00")

    path, known = scheduled.root / ".drydock/backup/schedule.json", record(scheduled)
    for change, words in (
        ({"python": "/gone/python"}, "/gone/python"),
        ({"root": "/gone/shop"}, "/gone/shop"),
    ):
        path.write_text(json.dumps({**known, **change}))
        assert words in complaint(scheduled)["detail"]
    path.write_text(json.dumps(known))
    subprocess.run(["crontab", "-"], input=THEIRS, check=True)
    assert (complaint(scheduled)["status"], complaint(scheduled)["fix"]) == (
        "warn",
        "invoke backup.schedule daily 03:00",
    )
    assert crontab() == THEIRS
