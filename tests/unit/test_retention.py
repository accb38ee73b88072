from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drydock.backup.retention import Candidate, Policy, Worth, reasons

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
NONE = Policy(last=0, daily=0, weekly=0, monthly=0)
BERLIN = ZoneInfo("Europe/Berlin")


def backup(hours_ago: float, worth: Worth = Worth.PROVEN, *, name: str = "", pinned: str | None = None) -> Candidate:
    made = NOW - timedelta(hours=hours_ago)
    return Candidate(name=name or f"{hours_ago:g}h", made=made, worth=worth, pinned=pinned)


def kept(candidates: list[Candidate], policy: Policy, zone: tzinfo | None = None) -> list[str]:
    return [name for name, why in reasons(candidates, policy, zone).items() if why]


# Gaps between backups may be negative: the clock was set back. Few hours and days, so that slots collide.
GAPS = st.sampled_from([-24 * 400, -48, -1, 0, 1, 6, 24, 24, 24, 48, 24 * 8, 24 * 40, 24 * 4000])
ONE = st.tuples(GAPS, st.sampled_from(Worth), st.sampled_from([None, None, None, "", "why"]), st.sampled_from("ab"))
COUNTS = st.integers(0, 5)
POLICIES = st.builds(Policy, last=COUNTS, daily=COUNTS, weekly=COUNTS, monthly=COUNTS)
ZONES = st.sampled_from([UTC, BERLIN, ZoneInfo("Pacific/Kiritimati")])


@st.composite
def histories(draw: st.DrawFn) -> list[Candidate]:
    """Backups, newest first by sequence, whatever their clock said."""
    made, found = NOW, []
    for n, (gap, worth, pinned, origin) in enumerate(draw(st.lists(ONE, max_size=30))):
        made -= timedelta(hours=gap)
        found.append(Candidate(name=f"{n}", made=made, worth=worth, pinned=pinned, origin=(origin,)))
    return found


def model(candidates: list[Candidate], policy: Policy, zone: tzinfo) -> set[str]:
    """The same promise told of one backup at a time, by what is newer than it."""
    stays = set()
    for n, one in enumerate(candidates):
        alike = [other for other in candidates if other.origin == one.origin]
        newer = [other for other in candidates[:n] if other.origin == one.origin]
        if one.pinned is not None or _is_last_good(one, newer, alike) or _is_among_the_last(one, newer, policy):
            stays.add(one.name)
        for count, unit in ((policy.daily, "day"), (policy.weekly, "week"), (policy.monthly, "month")):
            here = _slot(one, unit, zone)
            rivals = [other for other in alike if _slot(other, unit, zone) == here]
            best = all(other.worth >= one.worth for other in rivals)
            first = not any(other.worth == one.worth and other in rivals for other in newer)
            before = {_slot(other, unit, zone) for other in newer if other.worth <= one.worth}
            if best and first and len(before) < count:
                stays.add(one.name)
    return stays


def _is_last_good(one: Candidate, newer: list[Candidate], alike: list[Candidate]) -> bool:
    return all(other.worth >= one.worth for other in alike) and all(other.worth != one.worth for other in newer)


def _is_among_the_last(one: Candidate, newer: list[Candidate], policy: Policy) -> bool:
    partial = one.worth is Worth.PARTIAL
    return sum((other.worth is Worth.PARTIAL) == partial for other in newer) < policy.last


def _slot(one: Candidate, unit: str, zone: tzinfo) -> tuple[int, ...]:
    day = one.made.astimezone(zone).date()
    slots = {
        "day": (day.toordinal(),),
        "week": ((day - timedelta(days=day.weekday())).toordinal(),),
        "month": (day.year, day.month),
    }
    return slots[unit]


@given(histories(), POLICIES, ZONES)
def test_what_stays_is_what_the_model_says(candidates: list[Candidate], policy: Policy, zone: tzinfo) -> None:
    """Every backup stays or goes as the rules say when they are applied to it alone."""
    assert set(kept(candidates, policy, zone)) == model(candidates, policy, zone)


@given(histories(), POLICIES, ZONES)
def test_what_must_never_go(candidates: list[Candidate], policy: Policy, zone: tzinfo) -> None:
    """Pinned ones stay, and of each database the newest proven and the newest whole ones, whatever the clock said."""
    stays = set(kept(candidates, policy, zone))
    assert {one.name for one in candidates if one.pinned is not None} <= stays
    for origin in {one.origin for one in candidates}:
        ours = [one for one in candidates if one.origin == origin]
        proven = [one.name for one in ours if one.worth is Worth.PROVEN]
        whole = [one.name for one in ours if one.worth is not Worth.PARTIAL]
        assert (proven or whole or [one.name for one in ours])[0] in stays
        assert set(whole[: policy.last]) <= stays


@given(histories(), POLICIES, ZONES)
def test_pruning_twice_removes_nothing_more(candidates: list[Candidate], policy: Policy, zone: tzinfo) -> None:
    """What a first pruning kept, a second one keeps."""
    once = kept(candidates, policy, zone)
    assert kept([one for one in candidates if one.name in once], policy, zone) == once


@given(histories(), POLICIES, POLICIES, ZONES)
def test_a_larger_policy_keeps_no_less(
    candidates: list[Candidate], policy: Policy, more: Policy, zone: ZoneInfo
) -> None:
    """Raising any of the numbers never costs a backup."""
    larger = Policy(
        last=policy.last + more.last,
        daily=policy.daily + more.daily,
        weekly=policy.weekly + more.weekly,
        monthly=policy.monthly + more.monthly,
    )
    assert set(kept(candidates, policy, zone)) <= set(kept(candidates, larger, zone))


def test_one_a_day_for_a_year() -> None:
    """The usual policy on a year of nightly backups: seven days, four weeks and six months, with overlaps."""
    year = [backup(24 * days) for days in range(365)]
    assert kept(year, Policy(), UTC) == [
        *(f"{24 * days}h" for days in range(7)),
        *(f"{24 * days}h" for days in (13, 20, 21, 52, 82, 113, 144)),
    ]


def test_an_unproven_one_does_not_replace_a_proven_one() -> None:
    """The day's proven backup stays although an unproven one is newer, and unproven days do not count against it."""
    day = [backup(1, Worth.UNPROVEN), backup(2), backup(3), backup(26, Worth.UNPROVEN), backup(27, Worth.UNPROVEN)]
    assert kept(day, replace(NONE, daily=2), UTC) == ["2h", "26h"]
    assert kept(day, replace(NONE, daily=1), UTC) == ["2h"]


def test_a_week_of_unproven_ones_pushes_no_proven_day_out() -> None:
    """Seven days without verification leave the seven proven days before them where they are."""
    history = [backup(24 * days, Worth.UNPROVEN if days < 7 else Worth.PROVEN) for days in range(20)]
    assert kept(history, replace(NONE, daily=7), UTC) == [f"{24 * days}h" for days in range(14)]


def test_partial_ones_count_for_themselves() -> None:
    """A backup of the schema or of some tables is neither the last good one nor one of the last whole ones."""
    history = [backup(1, Worth.PARTIAL), backup(2, Worth.PARTIAL), backup(3, Worth.UNPROVEN), backup(30)]
    assert kept(history, replace(NONE, last=1), UTC) == ["1h", "3h", "30h"]
    assert kept(history, NONE, UTC) == ["30h"]


def test_another_databases_backups_replace_nothing() -> None:
    """What was pulled from a colleague's checkout is counted apart: each database keeps its own last good one."""
    theirs = [replace(backup(hour), origin=("theirs",)) for hour in range(3)]
    ours = [backup(hour, name=f"ours {hour}") for hour in (100, 200)]
    assert kept([*theirs, *ours], replace(NONE, last=1), UTC) == ["0h", "ours 100"]


@pytest.mark.parametrize(
    ("wrong", "policy"),
    [(-24 * 365 * 4, replace(NONE, daily=2)), (24 * 365 * 4, replace(NONE, daily=2)), (-30, replace(NONE, daily=2))],
    ids=["ahead by years", "behind by years", "ahead by a day"],
)
def test_a_wrong_clock_makes_no_newer_backup_old(wrong: float, policy: Policy) -> None:
    """Backups with a wrong time are as old as their sequence says: today's stay, and so does the day before."""
    history = [backup(0), *(backup(wrong - n * 24, name=f"wrong {n}") for n in range(5)), backup(24)]
    assert kept(history, policy, UTC) == ["0h", "wrong 0"]
    assert kept(history, replace(policy, daily=7), UTC)[0] == "0h"
    assert "24h" in kept(history, replace(policy, daily=7), UTC)


def test_days_are_the_hosts() -> None:
    """23:30 and 00:30 UTC are two days in London and one in Berlin."""
    pair = [backup(11.5), backup(12.5)]
    assert kept(pair, replace(NONE, daily=7), ZoneInfo("Europe/London")) == ["11.5h", "12.5h"]
    assert kept(pair, replace(NONE, daily=7), BERLIN) == ["11.5h"]


def test_weeks_begin_on_monday() -> None:
    """Sunday and the Monday after it are two weeks; the last days of 2026 and the first of 2027 are one."""
    monday = datetime(2026, 11, 16, 1, 0, tzinfo=UTC)
    pair = [Candidate(name="monday", made=monday), Candidate(name="sunday", made=monday - timedelta(hours=2))]
    assert kept(pair, replace(NONE, weekly=2), UTC) == ["monday", "sunday"]
    turn = [Candidate(name=f"{day}", made=datetime(2026, 12, 31, tzinfo=UTC) + timedelta(days=day)) for day in (2, 0)]
    assert reasons(turn, replace(NONE, weekly=2), UTC) == {"2": ["the newest proven one", "week 2026-W53"], "0": []}


def test_every_reason_is_told() -> None:
    """A backup that stays by several rules names them all."""
    only = backup(0, pinned="before the move")
    assert reasons([only], Policy(last=3, daily=1, weekly=1, monthly=1), UTC)[only.name] == [
        "pinned: before the move",
        "the newest proven one",
        "one of the last 3",
        "day 2026-11-21",
        "week 2026-W47",
        "month 2026-11",
    ]
