"""The restorable window: from the end of a base backup to the end of the WAL that follows it without a hole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from drydock.errors import DrydockError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from drydock.recovery.plans.moments import Clock
    from drydock.recovery.plans.situation import Base, Situation
    from drydock.recovery.wal.positions import Descent


@dataclass(frozen=True)
class Window:
    """What of a timeline can be restored.

    Attributes:
        timeline: its number.
        start: the position from which on any can be a target.
        end: the position up to which there is WAL.
        since: the time of `start`.
        until: the latest moment that is known to lie before `end`.
    """

    timeline: int
    start: int
    end: int
    since: datetime
    until: datetime

    def shown(self, clock: Clock) -> str:
        """From when to when."""
        return f"{clock.shown(self.since)} to {clock.shown(self.until)} on timeline {self.timeline}"


def windows(situation: Situation) -> list[Window]:
    """The restorable windows, oldest first; more than one where there are timelines or holes.

    A timeline whose history is missing or doubtful has none.
    """
    found = [window for timeline in situation.chain.timelines() for window in _of(situation, timeline)]
    return sorted(found, key=lambda window: (window.since, window.timeline))


def told(situation: Situation) -> str:
    """The restorable windows in a sentence."""
    found = [window.shown(situation.clock) for window in windows(situation)]
    if not found:
        return "Nothing can be restored by time yet: there is no base backup with its WAL."
    return f"What can be restored: {'; '.join(found)}."


def _of(situation: Situation, timeline: int) -> Iterator[Window]:
    try:
        descent = situation.chain.descent(timeline)
    except DrydockError:
        return
    last = situation.positions.last_record(descent)
    reached = -1
    for base in situation.beginnings():
        if last is None or base.stop <= reached or not descent.holds(base.timeline, base.stop):
            continue
        reached = situation.chain.extent(descent, base.stop, last[1])
        if reached > max(descent.stretches[-1].begin, base.stop):
            yield _window(situation, descent, base, reached)


def _window(situation: Situation, descent: Descent, base: Base, end: int) -> Window:
    """What lies between a base backup and a hole, as far as it is on the last timeline of the line of descent."""
    begin = descent.stretches[-1].begin
    times = [k.moment for k in situation.known() if descent.holds(k.timeline, k.lsn) and base.stop <= k.lsn <= end]
    last = situation.positions.last_record(descent)
    if last and last[1] <= end and (newest := situation.positions.last_time(descent)):
        times.append(newest)
    since = base.stopped if base.stop >= begin else _begun(situation, descent) or base.stopped
    return Window(descent.timeline, max(begin, base.stop), end, since, max([*times, since]))


def _begun(situation: Situation, descent: Descent) -> datetime | None:
    """When a timeline was first lived on."""
    lived = (life.since for life in situation.lives if situation.timeline_of(life.part) == descent.timeline)
    return next(lived, None)
