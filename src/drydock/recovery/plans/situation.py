"""All that a restore is planned from: the WAL, the base backups, the marks, and who lived when."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from drydock.recovery.archive.folders import part_order
from drydock.recovery.wal.positions import parse_lsn

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from drydock.recovery.archive.chain import Chain
    from drydock.recovery.archive.lives import Life
    from drydock.recovery.plans.moments import Clock
    from drydock.recovery.plans.questions import Positions
    from drydock.recovery.wal.positions import Descent


class Base(Protocol):
    """A base backup, as far as it is planned with."""

    @property
    def name(self) -> str:
        """Of its folder."""
        ...

    @property
    def timeline(self) -> int:
        """On which it was taken."""
        ...

    @property
    def start(self) -> int:
        """The position from which on a server that begins with it replays WAL."""
        ...

    @property
    def stop(self) -> int:
        """The position from which on it is consistent."""
        ...

    @property
    def stopped(self) -> datetime:
        """The server's clock after it ended."""
        ...

    @property
    def proven(self) -> bool:
        """Whether every file of it has been compared with what the server sent."""
        ...

    @property
    def size(self) -> int:
        """Bytes unpacked."""
        ...


class Mark(Protocol):
    """A moment with a name."""

    @property
    def name(self) -> str:
        """As people say it."""
        ...

    @property
    def timeline(self) -> int:
        """On which it was made."""
        ...

    @property
    def lsn(self) -> str:
        """The position after its record."""
        ...

    @property
    def made(self) -> str:
        """The server's clock; UTC, ISO 8601."""
        ...


_PAGE, _LONG_PAGE_HEADER = 8192, 40  # bytes


def is_reached(lsn: int, end: int) -> bool:
    """True where records that end at `end` go as far as a position, which may be told with the next page's header."""
    return lsn <= end + (_LONG_PAGE_HEADER if end % _PAGE == 0 else 0)


@dataclass(frozen=True)
class Known:
    """Whatever was committed on a timeline up to `moment` lies before `lsn`."""

    timeline: int
    lsn: int
    moment: datetime


@dataclass(frozen=True)
class Ahead:
    """The server that runs has written what the archive does not have.

    Attributes:
        timeline: on which it writes.
        remedy: the command that has the archive receive it; empty where none does.
    """

    timeline: int
    remedy: str = ""


@dataclass(frozen=True, kw_only=True)
class Situation:
    """What a plan is made from.

    Attributes:
        chain: the WAL.
        bases: the usable base backups.
        positions: what is in the WAL.
        marks: all of them.
        lives: which part was lived in when, in that order.
        clock: now, and the person's zone.
        unusable: the names of base backups that have proven damaged: when they were taken is known all the same.
        received: how far the archive has come, where a server runs and its archiver was asked; else None.
        ahead: where that server's archiver did not get as far, or there is none: what is there now is not known then.
    """

    chain: Chain
    bases: Sequence[Base]
    positions: Positions
    marks: Sequence[Mark]
    lives: Sequence[Life]
    clock: Clock
    received: Known | None = None
    ahead: Ahead | None = None
    unusable: frozenset[str] = frozenset()

    def beginnings(self) -> list[Base]:
        """The base backups that a restore can begin with, in the order of where they end."""
        return sorted((one for one in self.bases if one.name not in self.unusable), key=lambda one: one.stop)

    def known(self) -> Iterator[Known]:
        """The moments of which it is known at which positions they were."""
        yield from (Known(base.timeline, base.stop, base.stopped) for base in self.bases)
        yield from (Known(mark.timeline, parse_lsn(mark.lsn), datetime.fromisoformat(mark.made)) for mark in self.marks)
        if self.received:
            yield self.received

    def newest(self, descent: Descent) -> datetime | None:
        """The latest moment up to which all commits on a line of descent are known to be there; None: there is none."""
        record, time = self.positions.last_record(descent), self.positions.last_time(descent)
        end = record[1] if record else 0
        there = (
            known for known in self.known() if is_reached(known.lsn, end) and descent.holds(known.timeline, known.lsn)
        )
        return max([known.moment for known in there] + ([time] if time else []), default=None)

    def timeline_of(self, part: str) -> int | None:
        """The timeline that a part's incarnation went on to; None where none of its WAL arrived.

        A restored incarnation begins on the timeline of the one before it, which alone owns that.
        """
        incarnation = part_order(part)[0]
        own = [timeline for timeline in self.chain.timelines() if self._owner(timeline) == incarnation]
        return max(own, default=None)

    def current(self) -> int | None:
        """The timeline of the life that is lived now."""
        return self.timeline_of(self.lives[-1].part) if self.lives else max(self.chain.timelines(), default=None)

    def _owner(self, timeline: int) -> int:
        return min((part_order(part)[0] for part in self.chain.parts_with(timeline)), default=0)
