"""When backups are due: every hour, every day or once a week, by the clock on the wall. Pure: no clock is asked."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING

from drydock.errors import SettingsError

if TYPE_CHECKING:
    from datetime import tzinfo

HOURLY, DAILY = "hourly", "daily"
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
# Those that take a time of day.
TIMED = (DAILY, *WEEKDAYS)
_WEEK = timedelta(days=7)
# Where a checkout records its schedule, below .drydock.
FOLDER, RECORD = "backup", "schedule.json"


@dataclass(frozen=True)
class Schedule:
    """When a backup is due.

    Attributes:
        when: `hourly`, `daily` or a day of the week.
        at: the time of day on the host's clock; for `hourly` its minute alone counts.
    """

    when: str
    at: time = time()

    def __str__(self) -> str:
        """As people type it."""
        return self.when if self.when == HOURLY else f"{self.when} {self.at:%H:%M}"

    @property
    def pace(self) -> timedelta:
        """From one to the next."""
        return {HOURLY: timedelta(hours=1), DAILY: timedelta(days=1)}.get(self.when, _WEEK)


def parse(when: str, at: str = "") -> Schedule:
    """The schedule that two words say, such as `daily 03:00`, `sunday 3:30` or `hourly`.

    Raises:
        SettingsError: where they say none.
    """
    hint = "invoke backup.schedule daily 03:00"
    when = when.lower()
    if when == HOURLY and not at:
        return Schedule(HOURLY)
    if when not in TIMED:
        known = ", ".join((HOURLY, *TIMED))
        raise SettingsError(f"{f'{when} {at}'.strip()!r} is no schedule; there are {known}, off and show.", hint=hint)
    found = re.fullmatch(r"([01]?[0-9]|2[0-3]):([0-5][0-9])", at)
    if not found:
        raise SettingsError(f"{at!r} is no time of day from 00:00 to 23:59.", hint=hint)
    return Schedule(when, time(int(found[1]), int(found[2])))


def last_due(schedule: Schedule, now: datetime, zone: tzinfo | None = None) -> datetime:
    """The latest moment up to `now` that the schedule names, in UTC.

    A time that the clock skips in spring is reached an hour later; one it passes twice in autumn counts the first time.

    Args:
        schedule: what was asked for.
        now: aware.
        zone: whose clock; the host's by default.
    """
    here = now.astimezone(zone)
    if schedule.when == HOURLY:
        this = here.replace(minute=schedule.at.minute, second=0, microsecond=0).astimezone(UTC)
        return this if this <= now else this - timedelta(hours=1)
    days = (here.date() - timedelta(days=back) for back in range(9))
    moments = (_moment(day, schedule.at, zone) for day in days if schedule.when in {DAILY, WEEKDAYS[day.weekday()]})
    return next(moment for moment in moments if moment <= now)


def is_due(schedule: Schedule, last: datetime, now: datetime, zone: tzinfo | None = None) -> bool:
    """True where a moment that the schedule names has passed since `last`, when the last one began.

    A `last` that lies ahead tells that the clock was set back: nobody knows how long ago that was, so it is due.
    """
    return last > now or last_due(schedule, now, zone) > last


def _moment(day: date, at: time, zone: tzinfo | None) -> datetime:
    local = datetime.combine(day, at)
    moment = (local.replace(tzinfo=zone) if zone else local).astimezone(UTC)
    # A time that is skipped has two readings, and the host's zone takes the one before the gap.
    return moment + max(timedelta(), local - moment.astimezone(zone).replace(tzinfo=None))
