"""A model of clusters that live, are archived, restored and undone, against which plans are held.

It knows what really happened, also what no archive received. A plan is carried out on the model as a server would: from
the base backup's rows, through just the files that the plan names, up to its stop.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from drydock.recovery.archive.chain import Chain
from drydock.recovery.archive.folders import Form, Stored, part_name
from drydock.recovery.archive.lives import Life
from drydock.recovery.plans.moments import Clock
from drydock.recovery.plans.situation import Known, Situation
from drydock.recovery.wal.positions import SEGMENT_SIZE, Descent, Segment, format_lsn, parse_history

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from drydock.recovery.plans.plan import Plan

STEP = (3 << 20) + 40  # bytes of WAL in a record, so that some lie across the end of a segment
EPOCH = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)


@dataclass(frozen=True)
class Record:
    """A record of the WAL; one with an xid ends a transaction."""

    timeline: int
    lsn: int
    xid: int
    moment: datetime
    committed: bool
    serial: int

    @property
    def end(self) -> int:
        """Where it ends."""
        return self.lsn + STEP


@dataclass(frozen=True)
class Backup:
    """A base backup."""

    name: str
    timeline: int
    start: int
    stop: int
    stopped: datetime
    proven: bool = True
    size: int = 40 << 20


@dataclass(frozen=True)
class MarkMade:
    """A mark."""

    name: str
    timeline: int
    lsn: str
    made: str


@dataclass(frozen=True)
class Drop:
    """A database that goes."""

    timeline: int
    lsn: int
    xid: int
    ended: int | None = None
    what: str = "database"


@dataclass(frozen=True)
class Counted:
    """What a stretch of WAL did."""

    transactions: int
    tables: Mapping[str, tuple[int, int, int]] = field(default_factory=dict)
    ddl: int = 0


@dataclass
class Cluster:
    """An incarnation: its line, and where its WAL goes."""

    timeline: int
    lsn: int
    xid: int
    part: str
    receiving: bool = True


class World:
    """Everything that happened."""

    def __init__(self) -> None:
        self.now = EPOCH
        self.histories: dict[int, str] = {1: ""}
        self.records: dict[int, list[Record]] = {1: []}
        self.received: dict[str, dict[int, tuple[int, int]]] = {}
        self.clusters = {1: Cluster(1, SEGMENT_SIZE + 40, 700, "1")}
        self.incarnation = 1
        self.lives: list[Life] = []
        self.bases: list[Backup] = []
        self.marks: list[MarkMade] = []
        self.deleted: set[tuple[str, Segment]] = set()
        self.damaged: set[int] = set()
        self.tablespaces: dict[int, str] = {}
        self.drops: list[Drop] = []
        self._serial = 0
        self._open("1", 1, SEGMENT_SIZE)

    @property
    def cluster(self) -> Cluster:
        """The one that is lived in."""
        return self.clusters[self.incarnation]

    def write(self, *, committed: bool = True, transaction: bool = True) -> Record:
        """One record, half a second later."""
        here = self.cluster
        self.now += timedelta(seconds=0.5)
        self._serial += 1
        here.xid += transaction
        record = Record(here.timeline, here.lsn, here.xid if transaction else 0, self.now, committed, self._serial)
        self.records[here.timeline].append(record)
        here.lsn += STEP
        self._receive()
        return record

    def idle(self, seconds: float) -> None:
        """Time passes, or the clock is set back."""
        self.now += timedelta(seconds=seconds)

    def delete(self, chance: float) -> None:
        """Somebody removes a file of the archive."""
        copies = list(self.copies())
        if copies:
            copy = copies[int(chance * len(copies))]
            self.deleted.add((copy.part, copy.segment))

    def back_up(self) -> Backup:
        """A base backup of the lived cluster; its end is a record of its own."""
        start = self.write(transaction=False).lsn
        backup = Backup(f"base{len(self.bases)}", self.cluster.timeline, start, self.cluster.lsn, self.now)
        self.bases.append(backup)
        self.write(transaction=False)
        return backup

    def mark(self) -> None:
        """A restore point, where its record is received."""
        record = self.write(transaction=False)
        if self.cluster.receiving:
            name = f"mark{len(self.marks)}"
            self.marks.append(MarkMade(name, record.timeline, format_lsn(record.end), self.now.isoformat()))

    def make_tablespace(self, folder: str) -> Record:
        """In a folder of its own."""
        record = self.write()
        self.tablespaces[record.serial] = folder
        return record

    def stop_archiver(self) -> None:
        """Its WAL is kept by the slot for now."""
        self.cluster.receiving = False

    def start_archiver(self) -> None:
        """It catches up."""
        self.cluster.receiving = True
        self._receive()

    def lose_slot(self) -> None:
        """What was not received is gone: a new part begins with the segment that is written now."""
        number = sum(name.split(".")[0] == str(self.incarnation) for name in self.received) + 1
        self.cluster.part = part_name(self.incarnation, number)
        self._open(self.cluster.part, self.cluster.timeline, self.cluster.lsn)
        self.start_archiver()

    def restore(self, to: Record) -> None:
        """A new incarnation that ends before a record, wherever it is; a mark is made first."""
        self.mark()
        timeline = max(self.histories) + 1
        line = self.histories[to.timeline]
        self.histories[timeline] = f"{line}{to.timeline}\t{format_lsn(to.lsn)}\tbefore\n"
        self.records[timeline] = []
        self.incarnation = max(self.clusters) + 1
        xid = max((r.xid for r in self.line(to.timeline) if r.lsn < to.lsn), default=700)
        self.clusters[self.incarnation] = Cluster(timeline, to.lsn, xid, part_name(self.incarnation))
        start = to.lsn // SEGMENT_SIZE * SEGMENT_SIZE
        self.received[self.cluster.part] = {to.timeline: (start, to.lsn)}
        self._open(self.cluster.part, timeline, to.lsn)
        self.write(transaction=False)

    def go_to(self, incarnation: int) -> None:
        """Undo or redo; a mark is made first."""
        self.mark()
        self.incarnation = incarnation
        self.lives.append(Life(self.cluster.part, self.now))

    def descent(self, timeline: int) -> Descent:
        """The true line of a timeline."""
        return parse_history(timeline, self.histories[timeline])

    def line(self, timeline: int) -> list[Record]:
        """Every record on the line of a timeline, by position."""
        found = []
        for stretch in self.descent(timeline).stretches:
            found += [r for r in self.records[stretch.timeline] if stretch.end is None or r.lsn < stretch.end]
        return found

    def rows(self, timeline: int, lsn: int, *, inclusive: bool = False) -> set[int]:
        """What a server on this line that stopped there has: the serial numbers of what was committed."""
        before = (r for r in self.line(timeline) if r.lsn < lsn + inclusive)
        return {r.serial for r in before if r.xid and r.committed}

    def rows_at(self, moment: datetime) -> set[int]:
        """What somebody saw at a moment."""
        part = [life for life in self.lives if life.since <= moment][-1].part
        timeline = self.clusters[int(part.split(".")[0])].timeline
        return {r.serial for r in self.line(timeline) if r.xid and r.committed and r.moment <= moment}

    def carry_out(self, plan: Plan) -> set[int]:
        """The rows a server has that does just what the plan says, with no file but the plan's."""
        descent = self.descent(plan.stop.timeline)
        assert plan.base.stop <= plan.stop.lsn
        assert descent.holds(plan.base.timeline, plan.base.stop)
        names = [stored.segment for stored in plan.segments]
        assert names == list(descent.segments(plan.base.stop, plan.end))
        for stored in plan.segments:
            assert (stored.part, stored.segment) not in self.deleted
            reached = min(self.received[stored.part][stored.segment.timeline][1], stored.segment.end)
            assert reached >= min(plan.end, stored.segment.end)
        last = [r for r in self.line(plan.stop.timeline) if r.lsn == plan.stop.lsn]
        assert last, "a stop is a record"
        return self.rows(plan.stop.timeline, plan.stop.lsn, inclusive=plan.stop.inclusive)

    def situation(self) -> Situation:
        """What the archive has of all this."""
        here = self.cluster
        received = Known(here.timeline, here.lsn, self.now) if here.receiving else None
        return Situation(
            chain=Chain(self.copies(), {t: [text] for t, text in self.histories.items() if text}, self),
            bases=self.bases,
            positions=Archived(self),
            marks=self.marks,
            lives=self.lives,
            clock=Clock(self.now, UTC),
            received=received,
        )

    def copies(self) -> Iterator[Stored]:
        """The files of the archive."""
        for part, timelines in self.received.items():
            for timeline, (start, end) in timelines.items():
                for number in range(start // SEGMENT_SIZE, max(start, end - 1) // SEGMENT_SIZE + 1):
                    segment = Segment(timeline, number)
                    form, suffix = (Form.SEALED, ".zst") if segment.end <= end else (Form.PARTIAL, ".partial")
                    if (part, segment) not in self.deleted:
                        yield Stored(segment, form, Path(part) / f"{segment.name}{suffix}")

    def read(self, stored: Stored) -> bytes:
        """A segment's content: what it says is the same in every copy, as far as it goes."""
        segment = stored.segment
        end = min(self.received[stored.part][segment.timeline][1], segment.end)
        inside = [r.serial for r in self.line(segment.timeline) if segment.start <= r.lsn < end]
        return "".join(f"{serial};" for serial in inside).encode()

    def _open(self, part: str, timeline: int, lsn: int) -> None:
        start = lsn // SEGMENT_SIZE * SEGMENT_SIZE
        self.received.setdefault(part, {})[timeline] = (start, lsn)
        self.lives.append(Life(part, self.now))

    def _receive(self) -> None:
        here = self.cluster
        if here.receiving:
            start, _ = self.received[here.part][here.timeline]
            self.received[here.part][here.timeline] = (start, here.lsn)


class Archived:
    """What can be read from the archive of a world."""

    def __init__(self, world: World) -> None:
        self.world = world

    def first_after(self, descent: Descent, moment: datetime) -> Record | None:
        """The first end of a transaction that is later."""
        return next((r for r in self._ends(descent) if r.moment > moment), None)

    def last_until(self, descent: Descent, moment: datetime) -> Record | None:
        """The last end of a transaction that is not."""
        return next((r for r in reversed(self._ends(descent)) if r.moment <= moment), None)

    def commits_of(self, xid: int) -> list[Record]:
        """Every one, on every timeline."""
        return [r for t in self.world.records for r in self.world.records[t] if r.xid == xid > 0 and self._is_there(r)]

    def record_from(self, descent: Descent, lsn: int) -> tuple[int, int] | None:
        """The next record."""
        return next(((r.lsn, r.end) for r in self._records(descent) if r.lsn >= lsn), None)

    def last_record(self, descent: Descent) -> tuple[int, int] | None:
        """The last one."""
        return next(((r.lsn, r.end) for r in reversed(self._records(descent))), None)

    def last_time(self, descent: Descent) -> datetime | None:
        """The latest end of a transaction."""
        return max((r.moment for r in self._ends(descent)), default=None)

    def between(self, descent: Descent, lsn: int, end: int) -> Counted:
        """How many were committed."""
        return Counted(sum(r.committed for r in self._ends(descent) if lsn <= r.lsn < end))

    def tablespace(self, descent: Descent, lsn: int, end: int) -> tuple[int, int, str] | None:
        """The first that is made."""
        made = self.world.tablespaces
        between = (r for r in self._records(descent) if lsn <= r.lsn < end and r.serial in made)
        return next(((r.timeline, r.lsn, made[r.serial]) for r in between), None)

    def dropping(self, descent: Descent, lsn: int) -> list[Drop]:
        """Those in the middle of which it lies."""
        drops = (one for one in self.world.drops if one.lsn < lsn and descent.holds(one.timeline, one.lsn))
        return [one for one in drops if one.ended is None or one.ended >= lsn]

    def covered(self, descent: Descent, start: int, end: int) -> bool:
        """Whether every record is there."""
        between = [r for r in self.world.line(descent.timeline) if start <= r.lsn < end]
        return all(self._is_there(r) and r.serial not in self.world.damaged for r in between)

    def _ends(self, descent: Descent) -> list[Record]:
        return [r for r in self._records(descent) if r.xid]

    def _records(self, descent: Descent) -> list[Record]:
        return [r for r in self.world.line(descent.timeline) if self._is_there(r)]

    def _is_there(self, record: Record) -> bool:
        numbers = range(record.lsn // SEGMENT_SIZE, (record.end - 1) // SEGMENT_SIZE + 1)
        return all(self._reaches(Segment(record.timeline, number), record.end) for number in numbers)

    def _reaches(self, segment: Segment, end: int) -> bool:
        return any(
            segment.timeline in timelines
            and timelines[segment.timeline][0] <= segment.start
            and min(end, segment.end) <= timelines[segment.timeline][1]
            and (part, segment) not in self.world.deleted
            for part, timelines in self.world.received.items()
        )
