"""Which backups stay: the newest ones, one for each of the latest days, weeks and months, and what must never go.

Pure: nothing is read, no clock is asked. What is newer is told by the order the caller gives, a backup's sequence, so
that a clock which ran ahead or was set back makes no newer backup look old.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime, tzinfo


class Worth(IntEnum):
    """What a backup is worth, best first."""

    PROVEN = 0
    UNPROVEN = 1
    PARTIAL = 2  # the schema alone, or some tables' rows


@dataclass(frozen=True, kw_only=True)
class Policy:
    """How many each rule keeps; 0 turns a rule off.

    Attributes:
        last: the newest ones.
        daily: one for each of the latest days that have one.
        weekly: the same for weeks, which begin on Monday (ISO 8601).
        monthly: the same for months.
    """

    last: int = 7
    daily: int = 7
    weekly: int = 4
    monthly: int = 6


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """What is to be known of a usable backup.

    Attributes:
        name: its own.
        made: when; aware of its time zone.
        worth: whether it is proven and whole.
        origin: the database it is of. Those of another one are counted apart: they replace nothing.
        pinned: why it is pinned, or None where it is not.
    """

    name: str
    made: datetime
    worth: Worth = Worth.PROVEN
    origin: tuple[str, ...] = ()
    pinned: str | None = None


def reasons(newest_first: Sequence[Candidate], policy: Policy, zone: tzinfo | None = None) -> dict[str, list[str]]:
    """Why each backup stays, by name; one without a reason may go.

    Of each origin the last good one always stays: the newest proven one, where there is none the newest unproven one.
    In a day, week or month the newest proven one stays. One that is unproven stays where its slot has no proven one,
    and never counts against those that are proven; in the same way a partial one never takes the place of a whole one.

    Args:
        newest_first: by sequence, not by clock.
        policy: how many to keep.
        zone: whose days; the host's by default.
    """
    found: dict[str, list[str]] = {candidate.name: [] for candidate in newest_first}
    groups: dict[tuple[str, ...], list[Candidate]] = defaultdict(list)
    for candidate in newest_first:
        groups[candidate.origin].append(candidate)
        if candidate.pinned is not None:
            found[candidate.name].append(f"pinned: {candidate.pinned}" if candidate.pinned else "pinned")
    for group in groups.values():
        for candidate, reason in _of_one_database(group, policy, zone):
            found[candidate.name].append(reason)
    return found


def _of_one_database(
    group: Sequence[Candidate], policy: Policy, zone: tzinfo | None
) -> Iterator[tuple[Candidate, str]]:
    best = min(group, key=lambda candidate: candidate.worth)  # min() takes the first of equals: the newest
    yield best, f"the newest {best.worth.name.lower()} one"
    whole = [candidate for candidate in group if candidate.worth is not Worth.PARTIAL]
    partial = [candidate for candidate in group if candidate.worth is Worth.PARTIAL]
    for candidate in (*whole[: policy.last], *partial[: policy.last]):
        yield candidate, f"one of the last {policy.last}"
    rules = ((policy.daily, "day", "%Y-%m-%d"), (policy.weekly, "week", "%G-W%V"), (policy.monthly, "month", "%Y-%m"))
    for count, unit, form in rules:
        slots = {candidate.name: candidate.made.astimezone(zone).strftime(form) for candidate in group}
        for candidate in _best_of_each(group, slots, count):
            yield candidate, f"{unit} {slots[candidate.name]}"


def _best_of_each(group: Sequence[Candidate], slots: dict[str, str], count: int) -> Iterator[Candidate]:
    """The best, newest candidate of each of the latest `count` slots; each worth has its own count."""
    taken: set[str] = set()
    for worth in Worth:
        counted = dict.fromkeys(slots[candidate.name] for candidate in group if candidate.worth <= worth)
        free = set(list(counted)[:count]) - taken
        for candidate in group:
            if candidate.worth is worth and slots[candidate.name] in free:
                free.remove(slots[candidate.name])
                yield candidate
        taken.update(counted)
