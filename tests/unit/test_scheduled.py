from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from drydock.backup import manifest as manifests
from drydock.backup.scheduling import automation, freshness, scheduled
from drydock.backup.scheduling.automation import Record
from drydock.backup.scheduling.schedule import RECORD
from drydock.backup.scheduling.scheduled import Run
from drydock.checks import Status
from drydock.errors import DrydockError
from drydock.settings import Settings
from tests.backups import make_backup, make_many

if TYPE_CHECKING:
    from pathlib import Path

    from drydock.backup.manifest import Manifest

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
MADE = Run("made", "20261121T120000Z, 4 kB, proven, in 1.0 s")
FAILED = Run("failed", "Cannot write: no space left.")
SKIPPED = Run("skipped", "Postgres does not run")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A checkout with an hourly schedule since noon."""
    found = Settings(root=tmp_path)
    turn_on(found)
    return found


def turn_on(settings: Settings, schedule: str = "hourly", since: datetime = NOW) -> None:
    record = Record(
        schedule=schedule, scheduler="cron", root=str(settings.root), python="python", since=since.isoformat()
    )
    automation.write(settings, record)


def log(settings: Settings) -> list[str]:
    return (automation.folder(settings) / automation.LOG).read_text().splitlines()


def hours(count: float) -> datetime:
    return NOW + timedelta(hours=count)


def test_a_backup_is_due_once_an_hour_has_passed(settings: Settings) -> None:
    """Not before the next moment of the schedule; not again after it was made; again an hour later."""
    assert scheduled.pending(settings, hours(0.9)) is None
    assert scheduled.pending(settings, hours(1))
    scheduled.conclude(settings, MADE, hours(1))
    assert scheduled.pending(settings, hours(1.5)) is None
    assert scheduled.pending(settings, hours(2))


def test_without_a_schedule_nothing_is_due(tmp_path: Path) -> None:
    """Neither is a backup due nor is anything written down."""
    settings = Settings(root=tmp_path)
    assert scheduled.pending(settings, NOW) is None
    scheduled.conclude(settings, MADE, NOW)
    assert not automation.folder(settings).exists()


def test_a_failing_backup_is_tried_three_times_a_period(settings: Settings) -> None:
    """After three failures for one moment it waits for the next; a success forgets them."""
    moments = [hours(1 + n / 10) for n in range(4)]
    for moment in moments[:3]:
        assert scheduled.pending(settings, moment)
        scheduled.conclude(settings, FAILED, moment)
    assert scheduled.pending(settings, moments[3]) is None
    assert scheduled.pending(settings, hours(2.2))
    scheduled.conclude(settings, FAILED, hours(2.2))
    assert scheduled.pending(settings, hours(2.3))
    scheduled.conclude(settings, MADE, hours(2.3))
    found = automation.read(settings)
    assert found is not None
    assert (found.last, found.result) == (hours(2.3).isoformat(), f"made: {MADE.detail}")
    assert [line.split(" ", 1)[1].split(":")[0] for line in log(settings)] == ["failed"] * 4 + ["made"]


def test_a_skipped_backup_stays_due_and_is_told_once(settings: Settings) -> None:
    """Servers that are down for half a day leave one line, and the backup is due until it is made."""
    for minutes in range(0, 60, 10):
        assert scheduled.pending(settings, hours(1 + minutes / 60))
        scheduled.conclude(settings, SKIPPED, hours(1 + minutes / 60))
    assert len(log(settings)) == 1
    scheduled.conclude(settings, SKIPPED, hours(2))
    assert len(log(settings)) == 2
    assert scheduled.pending(settings, hours(2.1))


def test_the_log_is_private_and_bounded(tmp_path: Path) -> None:
    """It has mode 0600, whole lines of one run each, the newest last, and never more than its limit."""
    path = tmp_path / "backup.log"
    for n in range(60):
        scheduled.append(path, f"line {n}\n", limit=200)
        assert path.stat().st_size <= 200
    lines = path.read_text().splitlines()
    assert path.stat().st_mode & 0o777 == 0o600
    assert lines == [f"line {n}" for n in range(60 - len(lines), 60)]
    assert len(lines) > 8


def test_a_result_of_several_lines_is_one_in_the_log(settings: Settings) -> None:
    """An error that quotes a server's last words stays one line."""
    scheduled.conclude(settings, Run("failed", "It ended. Its last words:\n    FATAL: no\n    LOG: bye"), hours(1))
    assert len(log(settings)) == 1
    assert log(settings)[0].endswith("failed: It ended. Its last words: FATAL: no LOG: bye")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schedule": "yearly"}', '{"schedule": "daily 03:00"}'])
def test_a_damaged_record_is_one_sentence(settings: Settings, text: str) -> None:
    """It is named, with the command that writes it anew."""
    (automation.folder(settings) / RECORD).write_text(text)
    with pytest.raises(DrydockError, match=r"schedule\.json is damaged"):
        scheduled.pending(settings, NOW)


def test_the_script_holds_what_docker_needs_and_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scheduler's bare environment gets PATH and Docker's variables; no password of this shell is written down."""
    monkeypatch.setenv("DOCKER_HOST", "unix:///run/user/1000/docker.sock")
    monkeypatch.setenv("POSTGRES_PASSWORD", "geheim-geheim")
    monkeypatch.setenv("DATABASE_URL", "postgresql://app:geheim@127.0.0.1/app")
    text = automation.script(tmp_path)
    assert "export DOCKER_HOST=unix:///run/user/1000/docker.sock\n" in text
    assert "geheim" not in text
    assert "POSTGRES_PASSWORD" in automation.overlooked()


def test_without_a_wish_for_backups_status_says_nothing(tmp_path: Path) -> None:
    """Neither schedule nor BACKUP_MAX_AGE: no check, and doctor's answer is a hint, no warning."""
    settings = Settings(root=tmp_path)
    assert freshness.check(settings, NOW) is None
    assert freshness.advice(settings, NOW).status is Status.PASS
    make_backup(settings.backups / "dumps", hours(-100))
    assert freshness.check(settings, NOW) is None
    assert "4 days old" in freshness.advice(settings, NOW).detail


@pytest.mark.parametrize(
    ("schedule", "young", "old"), [("hourly", 2.9, 3.1), ("daily 03:00", 25.9, 26.1), ("sunday 03:00", 169, 171)]
)
def test_a_schedule_says_how_old_a_backup_may_be(settings: Settings, schedule: str, young: float, old: float) -> None:
    """Two hours more than its pace pass; what is older is a warning with the schedule."""
    turn_on(settings, schedule, since=hours(-1000))
    make_backup(settings.backups / "dumps", NOW)
    passed, late = freshness.check(settings, hours(young)), freshness.check(settings, hours(old))
    assert passed is not None
    assert late is not None
    assert (passed.status, late.status) == (Status.PASS, Status.WARN)
    assert schedule in late.detail
    assert "backup.schedule show" in late.fix


def test_a_new_schedule_has_time_to_make_its_first_backup(settings: Settings) -> None:
    """What was old before the schedule was turned on is no warning until it had its chance."""
    make_backup(settings.backups / "dumps", hours(-1000))
    first, late = freshness.check(settings, hours(2)), freshness.check(settings, hours(4))
    assert (first and first.status, late and late.status) == (Status.PASS, Status.WARN)


def test_the_setting_wins_over_the_schedule(tmp_path: Path) -> None:
    """BACKUP_MAX_AGE warns by itself, also where there never was a backup."""
    settings = Settings(root=tmp_path, backup_max_age=10)
    none = freshness.check(settings, NOW)
    assert none is not None
    assert (none.status, none.detail) == (Status.WARN, "there is no proven backup; BACKUP_MAX_AGE is 10 hours")
    make_backup(settings.backups / "dumps", hours(-9))
    found = freshness.check(settings, NOW)
    assert found is not None
    assert found.status is Status.PASS


def test_what_proves_nothing_makes_no_backup_young(tmp_path: Path) -> None:
    """Unproven, partial, damaged and wrongly dated backups are passed over, however new."""
    settings = Settings(root=tmp_path, backup_max_age=10)
    folder = settings.backups / "dumps"
    good = make_backup(folder, hours(-20), sequence=1)
    make_backup(folder, hours(-5), sequence=2, proven=False)
    make_backup(folder, hours(-4), sequence=3, schema_only=True)
    broken = make_backup(folder, hours(-3), sequence=4)
    (broken.path / "manifest.json").write_text("{")
    foreign = make_backup(folder, hours(-2), sequence=5)
    (foreign.path / "proof.json").write_text((good.path / "proof.json").read_text())
    make_backup(folder, hours(24 * 365), sequence=6)
    (folder / ".unfinished-1").mkdir()
    assert freshness.newest_proven(settings, NOW) == hours(-20)


def test_many_backups_do_not_slow_status_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 200 backups only the newest with a proof is opened."""
    settings = Settings(root=tmp_path, backup_max_age=10)
    make_many(settings.backups / "dumps", 200)
    opened, read = [], manifests.read

    def noting(folder: Path) -> Manifest:
        opened.append(folder.name)
        return read(folder)

    monkeypatch.setattr(manifests, "read", noting)
    assert freshness.newest_proven(settings, NOW) == NOW
    assert opened == ["20261121T120000Z"]
