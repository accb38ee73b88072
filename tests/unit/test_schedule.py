from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drydock.backup.scheduling.schedule import WEEKDAYS, Schedule, is_due, last_due, parse
from drydock.errors import SettingsError

BERLIN = ZoneInfo("Europe/Berlin")  # 2026: forward at 02:00 on 29 March, back at 03:00 on 25 October
ZONES = st.sampled_from([UTC, BERLIN, ZoneInfo("America/New_York"), ZoneInfo("Australia/Lord_Howe")])
MOMENTS = st.timedeltas(timedelta(), timedelta(days=365)).map(lambda passed: datetime(2026, 1, 1, tzinfo=UTC) + passed)
SCHEDULES = st.builds(
    Schedule, st.sampled_from(["daily", *WEEKDAYS]), st.times().map(lambda at: at.replace(second=0, microsecond=0))
)
HOUR = timedelta(hours=1)


def local(text: str, zone: ZoneInfo = BERLIN, *, fold: int = 0) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold).astimezone(UTC)


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (("daily", "03:00"), "daily 03:00"),
        (("Daily", "3:05"), "daily 03:05"),
        (("sunday", "23:59"), "sunday 23:59"),
        (("hourly",), "hourly"),
    ],
)
def test_words_that_are_a_schedule(words: tuple[str, ...], shown: str) -> None:
    """What people type is understood, shown, and understood again."""
    assert str(parse(*words)) == shown
    assert parse(*shown.split()) == parse(*words)


@pytest.mark.parametrize(
    "words",
    [("daily", ""), ("daily", "24:00"), ("daily", "3"), ("daily", "03:60"), ("daily", "0\u0663:00"), ("daily", "-1:00"),
     ("yearly", "03:00"), ("", ""), ("hourly", "03:00"), ("3:00", "daily"), ("daily", "03:00\n")],
)  # fmt: skip
def test_words_that_are_none(words: tuple[str, str]) -> None:
    """Anything else is one sentence with an example."""
    with pytest.raises(SettingsError) as caught:
        parse(*words)
    assert caught.value.hint == "invoke backup.schedule daily 03:00"


@given(SCHEDULES, MOMENTS, ZONES)
def test_the_last_moment_is_the_wall_clocks(schedule: Schedule, now: datetime, zone: ZoneInfo) -> None:
    """It lies within a period before now, on the right day at the right time, but for an hour that the clock skips."""
    moment = last_due(schedule, now, zone)
    assert moment <= now < moment + schedule.pace + HOUR
    here = moment.astimezone(zone)
    assert schedule.when in {"daily", WEEKDAYS[here.weekday()]}
    skipped = here.replace(tzinfo=None) - datetime.combine(here.date(), schedule.at)
    assert timedelta() <= skipped <= HOUR
    assert skipped == timedelta() or (here - HOUR).utcoffset() != here.utcoffset()


@given(SCHEDULES, MOMENTS, ZONES, st.integers(0, 59))
def test_ticks_of_every_hour_make_one_backup_a_period(
    schedule: Schedule, start: datetime, zone: ZoneInfo, minute: int
) -> None:
    """A computer that is always on makes a backup once for each day or week that passes, within an hour of its time."""
    last, made = start, []
    tick = start.replace(minute=minute, second=0, microsecond=0)
    tick += HOUR if tick < start else timedelta()
    for _ in range(24 * 15):
        if is_due(schedule, last, tick, zone):
            last = tick
            made.append(tick)
        tick += HOUR
    assert all(when - last_due(schedule, when, zone) < HOUR for when in made)
    days = [last_due(schedule, when, zone).astimezone(zone).date() for when in made]
    assert days == [days[0] + n * timedelta(days=schedule.pace.days) for n in range(len(days))]
    assert len(days) in ({14, 15, 16} if schedule.when == "daily" else {2, 3})


@given(SCHEDULES, MOMENTS, st.timedeltas(timedelta(), timedelta(days=40)), ZONES)
def test_however_much_was_missed_one_backup_makes_up_for_it(
    schedule: Schedule, last: datetime, off: timedelta, zone: ZoneInfo
) -> None:
    """After any time off at most one backup is due, and one is due where a period has gone by."""
    now = last + off
    if off > schedule.pace + HOUR:
        assert is_due(schedule, last, now, zone)
    if is_due(schedule, last, now, zone):
        assert not is_due(schedule, now, now, zone)


def test_a_time_that_spring_skips_comes_an_hour_later() -> None:
    """02:30 does not exist on 29 March 2026 in Berlin: the backup is due at 03:30, once."""
    nightly = Schedule("daily", time(2, 30))
    last = local("2026-03-28T02:30")
    assert not is_due(nightly, last, local("2026-03-29T03:29"), BERLIN)
    assert is_due(nightly, last, local("2026-03-29T03:30"), BERLIN)
    assert not is_due(nightly, local("2026-03-29T03:30"), local("2026-03-30T02:29"), BERLIN)
    assert is_due(nightly, local("2026-03-29T03:30"), local("2026-03-30T02:30"), BERLIN)


def test_a_time_that_autumn_repeats_comes_once() -> None:
    """02:30 exists twice on 25 October 2026 in Berlin: the backup is due the first time only."""
    nightly = Schedule("daily", time(2, 30))
    first, second = local("2026-10-25T02:30"), local("2026-10-25T02:30", fold=1)
    assert second - first == HOUR
    assert is_due(nightly, local("2026-10-24T02:30"), first, BERLIN)
    assert not is_due(nightly, first, second, BERLIN)
    assert not is_due(nightly, first, local("2026-10-26T02:29"), BERLIN)


@pytest.mark.parametrize("ahead", [timedelta(minutes=1), timedelta(days=3), timedelta(days=4000)])
def test_a_clock_that_was_set_back_starves_nothing(ahead: timedelta) -> None:
    """A last backup that lies ahead of the clock makes one due at once, and then the schedule goes on."""
    nightly, now = Schedule("daily", time(3)), datetime(2026, 11, 21, 12, tzinfo=UTC)
    assert is_due(nightly, now + ahead, now, UTC)
    assert not is_due(nightly, now, now + HOUR, UTC)
    assert is_due(nightly, now, now + 24 * HOUR, UTC)


def test_the_hosts_zone_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a zone the times are those of this machine."""
    import time as clock

    monkeypatch.setenv("TZ", "Europe/Berlin")
    clock.tzset()
    try:
        for day in (date(2026, 3, 29), date(2026, 7, 1), date(2026, 10, 25)):
            now = datetime(day.year, day.month, day.day, 20, tzinfo=UTC)
            for schedule in (Schedule("daily", time(2, 30)), Schedule("hourly"), Schedule("sunday", time(3))):
                assert last_due(schedule, now) == last_due(schedule, now, BERLIN)
    finally:
        monkeypatch.undo()
        clock.tzset()


def test_hourly_is_the_full_hour_of_the_wall_clock() -> None:
    """In a zone that is half an hour off, the full hour is its own."""
    kolkata = ZoneInfo("Asia/Kolkata")
    assert last_due(Schedule("hourly"), datetime(2026, 1, 1, 0, 29, tzinfo=UTC), kolkata).minute == 30
    assert last_due(Schedule("hourly"), datetime(2026, 1, 1, 0, 31, tzinfo=UTC), kolkata).hour == 0
    before, after = (datetime(2026, 1, 1, 0, minute, tzinfo=UTC) for minute in (29, 31))
    assert is_due(Schedule("hourly"), before, after, kolkata)
    assert not is_due(Schedule("hourly"), before, after, UTC)
