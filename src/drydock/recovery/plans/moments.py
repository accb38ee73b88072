"""The moment that people mean by `10 minutes ago`, `14:05`, `yesterday 18:00` or an ISO 8601 time. No clock is asked.

The server would take a time without a zone for its own zone's, and knows neither `Z` nor `now` while it starts;
so a time is understood here, in the zone of the person's clock, and only ever handed on in UTC.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from drydock.errors import RefusedError, SettingsError

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_UNITS = {"s": 1, "sec": 1, "second": 1, "m": 60, "min": 60, "minute": 60, "h": 3600, "hour": 3600}
_UNITS |= {"d": 86400, "day": 86400, "w": 7 * 86400, "week": 7 * 86400}
_AMOUNT = re.compile(r"(\d{1,9}(?:\.\d{1,6})?|an?\b)\s*([a-z]+?)s?(?=[\s\d,]|$)(?:\s+and\b|,)?\s*", re.ASCII)
_TIME = r"(?P<time>(?:[01]?\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:[.,]\d+)?)?)"
_ZONE = r"\s*(?P<zone>Z|[+-](?:[01]\d|2[0-3])(?::?[0-5]\d)?|UTC|GMT|[A-Za-z_]+/[A-Za-z0-9_/+-]+)?"
_ISO = re.compile(rf"(?P<date>\d{{4}}-\d\d-\d\d|\d{{8}})(?:T|\s+){_TIME}{_ZONE}", re.ASCII | re.IGNORECASE)
# As backups are named: 20261121T140530Z.
_BASIC = re.compile(r"(\d{8}T)(\d\d)(\d\d)(\d\d)", re.ASCII | re.IGNORECASE)
_CLOCK = re.compile(rf"(?:(?P<day>[a-z]+)\s+(?:at\s+)?)?{_TIME}{_ZONE}", re.ASCII | re.IGNORECASE)
FORMS = '"10 minutes ago", "14:05", "yesterday 18:00", "2026-11-21 14:05:30" or "2026-11-21T14:05:30+05:30"'


@dataclass(frozen=True)
class Clock:
    """What time it is, and where.

    Attributes:
        now: aware.
        zone: of the person's clock; None for the host's.
    """

    now: datetime
    zone: tzinfo | None = None

    def shown(self, moment: datetime) -> str:
        """A moment in full: on this clock and in UTC, once where these are the same."""
        here = moment.astimezone(self.zone)
        universal = spelled(moment)
        return f"{here.isoformat(sep=' ')} ({universal})" if here.utcoffset() else universal


def spelled(moment: datetime) -> str:
    """A moment in the form that Postgres reads the same in every zone, also before it knows any zone's name."""
    return f"{moment.astimezone(UTC).replace(tzinfo=None).isoformat(sep=' ', timespec='microseconds')}+00"


def parse(text: str, clock: Clock, option: str = "--at") -> datetime:
    """The moment that words mean, in UTC.

    A time of day is today's, and a weekday the last one. A day is 24 hours in `2 days ago`, and a calendar day in
    `yesterday`.

    Args:
        text: the words.
        clock: of the person who says them.
        option: with which they were given, for messages.

    Raises:
        SettingsError: where they mean none, or not one.
        RefusedError: where they name a time in the future, or one that the clock passed twice or skipped.
    """
    words = _BASIC.sub(r"\1\2:\3:\4", " ".join(text.split()))
    try:
        moment = _moment(words, clock, option).astimezone(UTC)
    except OverflowError:
        raise SettingsError(f"{option} {text!r} is outside the calendar.", hint=f"Write {FORMS}.") from None
    except ValueError as error:
        raise SettingsError(f"{option} {text!r} is no moment: {error}.", hint=f"Write {FORMS}.") from None
    if moment > clock.now:
        past = f'"yesterday {words}"' if words[:1].isdigit() and _CLOCK.fullmatch(words) else FORMS
        raise RefusedError(
            f"{option} {text!r} is {clock.shown(moment)}, which is in the future: it is {clock.shown(clock.now)}.",
            hint=f"Name a time that has been, such as {past}.",
        )
    return moment


def _moment(words: str, clock: Clock, option: str) -> datetime:
    lower = words.lower()
    if lower == "now":
        return clock.now
    if lower.endswith(" ago"):
        return clock.now.astimezone(UTC) - _passed(lower.removesuffix("ago"))
    if found := _ISO.fullmatch(words):
        day = datetime.fromisoformat(found["date"])
    elif found := _CLOCK.fullmatch(words):
        zone = _zone(found["zone"]) or clock.zone
        day = _day((found["day"] or "today").lower(), _time(found["time"]), clock.now.astimezone(zone))
    else:
        raise ValueError("it says no date and time, or not in a form that means one thing only")
    local = datetime.combine(day, _time(found["time"]))
    return _once(local, _zone(found["zone"]) or clock.zone, f"{option} {words!r}", option)


def _passed(words: str) -> timedelta:
    passed, position = timedelta(), 0
    while found := _AMOUNT.match(words, position):
        if found[2] not in _UNITS:
            raise ValueError(f"{found[2]!r} is no unit of time; there are seconds, minutes, hours, days and weeks")
        amount = 1.0 if found[1].startswith("a") else float(found[1])
        passed += timedelta(seconds=amount * _UNITS[found[2]])
        position = found.end()
    if position < len(words) or not position:
        raise ValueError(f"{words.strip()!r} is no span of time such as 10 minutes")
    return passed


def _time(text: str) -> time:
    """Digits after the sixth are cut off: Postgres counts microseconds."""
    return time.fromisoformat(text.replace(",", ".").rjust(len(text) + (text.index(":") == 1), "0"))


def _day(word: str, at: time, here: datetime) -> datetime:
    midnight = datetime.combine(here.date(), time())
    if word in {"today", "yesterday"}:
        return midnight - timedelta(days=word == "yesterday")
    if word not in WEEKDAYS:
        raise ValueError(f"{word!r} is no day; there are today, yesterday, {', '.join(WEEKDAYS)} and dates")
    back = (here.weekday() - WEEKDAYS.index(word)) % 7
    return midnight - timedelta(days=7 if not back and at > here.time() else back)


def _zone(word: str | None) -> tzinfo | None:
    if not word:
        return None
    if word.upper() in {"Z", "UTC", "GMT"}:
        return UTC
    if word[0] in "+-":
        return datetime.strptime(f"{word.replace(':', ''):0<5}", "%z").tzinfo
    try:
        return ZoneInfo(word)
    except (ZoneInfoNotFoundError, OSError):
        raise ValueError(f"{word!r} is no time zone") from None


def _once(local: datetime, zone: tzinfo | None, told: str, option: str) -> datetime:
    """A time on a clock as a moment, where the clock showed it once."""
    first, second = (_on_the_clock(local, zone, fold) for fold in (0, 1))
    if first == second:
        return first
    hint = " or ".join(f'{option} "{moment.astimezone(zone).isoformat(sep=" ")}"' for moment in sorted((first, second)))
    # Which of the two is earlier does not tell: the host's own zone has them swapped where it skips a time.
    shown = first.astimezone(zone).replace(tzinfo=None) == local
    why = "happened twice: the clock was set back" if shown else "did not happen: the clock was set forward"
    raise RefusedError(f"{told} {why} between summer and winter time.", hint=f"Say which: {hint}")


def _on_the_clock(local: datetime, zone: tzinfo | None, fold: int) -> datetime:
    folded = local.replace(fold=fold)
    return (folded.replace(tzinfo=zone) if zone else folded).astimezone(UTC)
