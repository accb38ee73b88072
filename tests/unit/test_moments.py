"""Times as people say them: understood on their clock, handed on in UTC, and never guessed."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drydock.errors import DrydockError, RefusedError, SettingsError
from drydock.recovery.plans import moments
from drydock.recovery.plans.moments import Clock

BERLIN = ZoneInfo("Europe/Berlin")  # 2026: forward at 02:00 on 29 March, back at 03:00 on 25 October
NOON = Clock(datetime(2026, 11, 21, 12, 0, tzinfo=UTC), BERLIN)  # a Saturday; 13:00 in Berlin
ZONES = [UTC, BERLIN, ZoneInfo("Asia/Kolkata"), ZoneInfo("Australia/Lord_Howe"), timezone(timedelta(hours=-9.5))]
PAST = st.timedeltas(timedelta(), timedelta(days=20_000)).map(lambda passed: NOON.now - passed)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("now", "2026-11-21 12:00:00.000000+00"),
        ("10 minutes ago", "2026-11-21 11:50:00.000000+00"),
        ("90 s ago", "2026-11-21 11:58:30.000000+00"),
        ("an hour ago", "2026-11-21 11:00:00.000000+00"),
        ("1 hour and 30 minutes ago", "2026-11-21 10:30:00.000000+00"),
        ("1h30m ago", "2026-11-21 10:30:00.000000+00"),
        ("1.5 hours ago", "2026-11-21 10:30:00.000000+00"),
        ("2 days, 1 hour ago", "2026-11-19 11:00:00.000000+00"),
        ("12:59", "2026-11-21 11:59:00.000000+00"),
        ("1:05:02.5", "2026-11-21 00:05:02.500000+00"),
        ("13:00Z", None),
        ("12:00Z", "2026-11-21 12:00:00.000000+00"),
        ("today 09:00", "2026-11-21 08:00:00.000000+00"),
        ("Yesterday 18:00", "2026-11-20 17:00:00.000000+00"),
        ("yesterday at 18:00 +05:30", "2026-11-20 12:30:00.000000+00"),
        ("friday 18:00", "2026-11-20 17:00:00.000000+00"),
        ("saturday 12:00", "2026-11-21 11:00:00.000000+00"),
        ("saturday 14:00", "2026-11-14 13:00:00.000000+00"),
        ("2026-11-21 10:00", "2026-11-21 09:00:00.000000+00"),
        ("2026-07-21 10:00", "2026-07-21 08:00:00.000000+00"),
        ("2026-11-21T10:00:00", "2026-11-21 09:00:00.000000+00"),
        ("2026-11-21T10:00Z", "2026-11-21 10:00:00.000000+00"),
        ("2026-11-21t10:00z", "2026-11-21 10:00:00.000000+00"),
        ("20261121T100000Z", "2026-11-21 10:00:00.000000+00"),
        ("2026-11-21 10:00:00.123456+00", "2026-11-21 10:00:00.123456+00"),
        ("2026-11-21 10:00:00,123456789 UTC", "2026-11-21 10:00:00.123456+00"),
        ("2026-11-21T10:00:00+05:30", "2026-11-21 04:30:00.000000+00"),
        ("2026-11-20 23:00:00-0330", "2026-11-21 02:30:00.000000+00"),
        ("2026-11-21 10:00 Asia/Kolkata", "2026-11-21 04:30:00.000000+00"),
        ("2026-10-25 02:30+01:00", "2026-10-25 01:30:00.000000+00"),
        ("2026-10-25 03:00", "2026-10-25 02:00:00.000000+00"),
        ("2026-03-29 03:00", "2026-03-29 01:00:00.000000+00"),
        ("0999-01-01 00:00 UTC", "0999-01-01 00:00:00.000000+00"),
    ],
)
def test_a_time_is_told_to_postgres_exactly(text: str, expected: str | None) -> None:
    """Whatever zone it was said in, the server reads it in one way; None stands for a future that is refused."""
    if expected is None:
        with pytest.raises(RefusedError, match="in the future"):
            moments.parse(text, NOON)
    else:
        assert moments.spelled(moments.parse(text, NOON)) == expected


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no date and time"), ("ago", "no date and time"), ("2026-11-21", "no date and time"),
        ("2026-11-21 10:00 IST", "no date and time"), ("24:00", "no date and time"), ("10:60", "no date and time"),
        ("10:00:60", "no date and time"), ("yesterday", "no date and time"), ("14", "no date and time"),
        ("2026-11-21x10:00", "no date and time"), ("12/11/2026 10:00", "no date and time"),
        ("2026-11-21 10:00 ../../etc/passwd", "no date and time"), ("2026-11-21 10:00+25:00", "no date and time"),
        ("\u0661\u0660 minutes ago", "no span of time"), ("-5 minutes ago", "no span of time"),
        ("10 minutes 5 ago", "no span of time"), ("a ago", "no span of time"), ("5 parsecs ago", "no unit of time"),
        ("2 months ago", "no unit of time"), ("2026-02-30 10:00", "day"), ("tomorrow 10:00", "'tomorrow' is no day"),
        ("10:00 Nowhere/City", "no time zone"), ("10:00 America/Argentina", "no time zone"),
        ("999999999 weeks ago", "outside the calendar"), ("0001-01-01 00:00+14:00", "outside the calendar"),
    ],
)  # fmt: skip
def test_what_means_no_moment_is_refused(text: str, why: str) -> None:
    """The sentence says why, and the hint shows the forms there are."""
    with pytest.raises(SettingsError, match=why) as caught:
        moments.parse(text, NOON)
    assert "10 minutes ago" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("2026-10-25 02:30", "happened twice", ['"2026-10-25 02:30:00+02:00"', '"2026-10-25 02:30:00+01:00"']),
        ("2026-03-29 02:30", "did not happen", ['"2026-03-29 01:30:00+01:00"', '"2026-03-29 03:30:00+02:00"']),
        ("14:05", "in the future", ['"yesterday 14:05"']),
        ("2026-11-21 13:00:00.000001", "in the future", ["10 minutes ago"]),
        ("9999-12-31 23:59", "in the future", ["10 minutes ago"]),
    ],
)
def test_a_time_that_is_not_one_moment_of_the_past_asks(text: str, message: str, hint: list[str]) -> None:
    """What the clock showed twice, never, or not yet: refused, with what could be meant ready to be copied."""
    with pytest.raises(RefusedError, match=message) as caught:
        moments.parse(text, NOON)
    assert all(words in caught.value.hint for words in hint)


@pytest.mark.parametrize(
    ("text", "message"), [("2026-10-25 02:30", "happened twice"), ("2026-03-29 02:30", "not happen")]
)
def test_the_host_s_own_zone_asks_as_well(text: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no zone is given it is the host's, and what that skips is not taken for what it showed twice."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        with pytest.raises(RefusedError, match=message):
            moments.parse(text, Clock(NOON.now))
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_message_names_the_option_that_was_given() -> None:
    """`history --since foo` is not told of --at."""
    with pytest.raises(SettingsError, match=r"^--since 'foo' is no moment"):
        moments.parse("foo", NOON, "--since")


def test_what_the_hint_of_a_repeated_hour_says_is_understood() -> None:
    """Each of the two readings that are offered is one of the two moments."""
    offered = ["2026-10-25 02:30:00+02:00", "2026-10-25 02:30:00+01:00"]
    first, second = (moments.parse(text, NOON) for text in offered)
    assert second - first == timedelta(hours=1)


def test_a_moment_is_shown_here_and_in_utc() -> None:
    """What people read has their zone's offset, and beside it exactly what the server is told."""
    shown = NOON.shown(moments.parse("2026-11-21 10:00", NOON))
    assert shown == "2026-11-21 10:00:00+01:00 (2026-11-21 09:00:00.000000+00)"


def test_the_hosts_zone_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a zone given, a time is one of the host's clock, summer and winter time as well."""
    import time

    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        host = Clock(NOON.now)
        assert moments.parse("2026-07-21 10:00", host) == datetime(2026, 7, 21, 8, 0, tzinfo=UTC)
        with pytest.raises(RefusedError, match="happened twice"):
            moments.parse("2026-10-25 02:30", host)
    finally:
        monkeypatch.undo()
        time.tzset()


@given(PAST, st.sampled_from(ZONES))
def test_what_is_printed_is_understood(moment: datetime, zone: ZoneInfo) -> None:
    """A moment as it is printed, on the clock and in UTC where that is another, is that moment again."""
    clock = Clock(NOON.now, zone)
    printed = clock.shown(moment).removesuffix(")").split(" (")
    assert {moments.parse(half, clock) for half in printed} == {moment}


@given(st.text(max_size=30) | st.from_regex(r"[0-9a-z:+ -]{1,25}( ago)?", fullmatch=True))
def test_no_text_crashes(text: str) -> None:
    """Anything typed is a moment that has been, or a sentence."""
    try:
        moment = moments.parse(text, NOON)
    except DrydockError as error:
        moment, text = NOON.now, error.hint
    assert moment <= NOON.now
    assert text
