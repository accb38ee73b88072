"""A restore, planned completely before any server starts, or refused: base backup, WAL, stop, and what it undoes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from drydock.errors import RefusedError
from drydock.recovery.archive.chain import MissingError
from drydock.recovery.plans import resolve, sparing, windows
from drydock.recovery.plans.targets import described
from drydock.recovery.wal.positions import SEGMENT_SIZE, Descent, format_lsn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drydock.recovery.archive.folders import Stored
    from drydock.recovery.plans.moments import Clock
    from drydock.recovery.plans.questions import Summary
    from drydock.recovery.plans.resolve import Resolved, Stop
    from drydock.recovery.plans.situation import Base, Situation
    from drydock.recovery.plans.targets import Target

# Bytes per second on a laptop's disk, as measured for this tool's own benchmarks; starting and stopping, in seconds.
LAYING, REPLAYING, AROUND = 300e6, 150e6, 2.0
TABLES_SHOWN = 12
NEWEST, SOME = "the newest WAL is missing", "some of the WAL until now is damaged or missing; invoke archive.verify"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a restore goes, all of it proven from what is on disk.

    Attributes:
        target: what was asked for.
        base: the base backup to begin with.
        descent: the line of timelines that leads to the stop.
        stop: the record to stop at.
        start: the base backup's end; WAL before it is in the base backup.
        end: the end of the record to stop at.
        segments: the files with all WAL from `start` to `end`, in order.
        undone: what was committed after the stop and is there now; None where the present is unknown.
        returning: what comes back, where the stop is on a line that was left; None otherwise.
        beside: whether the cluster stays where it is, so that nothing is undone.
        unknown: why the present is, as a clause.
    """

    target: Target
    base: Base
    descent: Descent
    stop: Stop
    start: int
    end: int
    segments: tuple[Stored, ...]
    undone: Summary | None = None
    returning: Summary | None = None
    beside: bool = False
    unknown: str = NEWEST

    @property
    def replayed(self) -> int:
        """Bytes of WAL."""
        return self.end - self.start

    @property
    def seconds(self) -> float:
        """How long it will take, roughly."""
        files = self.base.size + len(self.segments) * SEGMENT_SIZE
        return AROUND + files / LAYING + self.replayed / REPLAYING

    def undoing_nothing(self) -> Plan:
        """The same for what leaves the cluster where it is: a branch, or single tables."""
        return replace(self, beside=True, undone=None, returning=None)

    def document(self) -> dict[str, Any]:
        """For --json."""
        return {
            "base": {"name": self.base.name, "stop": format_lsn(self.base.stop), "verified": self.base.proven},
            "timeline": self.stop.timeline,
            "lsn": format_lsn(self.stop.lsn),
            "inclusive": self.stop.inclusive,
            "wal": {
                "start": format_lsn(self.start),
                "end": format_lsn(self.end),
                "bytes": self.replayed,
                "segments": [stored.segment.name for stored in self.segments],
            },
            "undone": self.undone and _counts(self.undone),
            "returning": self.returning and _counts(self.returning),
            "seconds": round(self.seconds, 1),
        }

    def lines(self, clock: Clock) -> Iterator[str]:
        """For people."""
        verified = "" if self.base.proven else ", not verified yet"
        after = "after" if self.stop.inclusive else "before"
        yield f"Target: {described(self.target, clock)}"
        yield f"  stops {after} the record at {format_lsn(self.stop.lsn)} of timeline {self.stop.timeline}"
        yield f"  base backup {self.base.name} (ended {clock.shown(self.base.stopped)}{verified})"
        yield f"  WAL {format_lsn(self.start)} to {format_lsn(self.end)}: {_segments(self.segments)}, no hole"
        unknown = "" if self.beside else f"what will be undone is not known: {self.unknown}"
        yield from _told("will be undone", self.undone, unknown)
        yield from _told("will come back", self.returning, "")
        yield f"  takes about {self.seconds:.0f} s"


def make(target: Target, situation: Situation) -> Plan:
    """The plan of a restore to `target`.

    Raises:
        RefusedError: where it cannot be proven that the restore would be what was asked for: it names the restorable
            window, the missing piece, or what it could mean.
    """
    resolved = sparing.spared(resolve.resolve(target, situation), situation)
    descent = situation.chain.descent(resolved.stop.timeline)
    base, segments = _reached_from(resolved, descent, situation)
    plan = Plan(
        target=target,
        base=base,
        descent=descent,
        stop=resolved.stop,
        start=base.stop,
        end=resolved.end,
        segments=segments,
    )
    return _with_losses(plan, situation)


def _reached_from(resolved: Resolved, descent: Descent, situation: Situation) -> tuple[Base, tuple[Stored, ...]]:
    """The newest base backup from which the stop is reached, with the WAL for it."""
    missing: MissingError | None = None
    for base in reversed(situation.beginnings()):
        if not _is_before(base, resolved, descent):
            continue
        try:
            segments = situation.chain.contiguous(descent, base.stop, resolved.end)
        except MissingError as error:
            missing = missing or error
            continue
        _refuse_unread(base, resolved, descent, situation)
        _refuse_tablespaces(base, resolved.stop, descent, situation)
        return base, segments
    if missing:
        raise RefusedError(f"{missing.message} {windows.told(situation)}", hint=missing.hint)
    raise RefusedError(
        f"No base backup ends before {format_lsn(resolved.stop.lsn)} of timeline {descent.timeline}"
        f"{' and before the time asked for' if resolved.moment else ''}. {windows.told(situation)}",
        hint="invoke restore with a target in it; invoke backup.list shows the dumps.",
    )


def _refuse_unread(base: Base, resolved: Resolved, descent: Descent, situation: Situation) -> None:
    """All files may be there and one of them be damaged: its transactions are in no index then."""
    if not situation.positions.covered(descent, base.stop, resolved.end):
        raise RefusedError(
            f"The WAL from {format_lsn(base.stop)} to {format_lsn(resolved.end)} of timeline {descent.timeline} "
            f"cannot be read without a gap: something in it is damaged. {windows.told(situation)}",
            hint="invoke archive.verify names the file.",
        )


def _refuse_tablespaces(base: Base, stop: Stop, descent: Descent, situation: Situation) -> None:
    """Whoever replays the making of a tablespace takes its folder, which is another server's, for his own.

    To drop one he has not made changes nothing: no base backup is of a cluster that has any. That is asked before it is
    taken and afterwards, so damage to the archived WAL of that time, which is in the base backup as well, keeps nobody.
    """
    found = situation.positions.tablespace(descent, base.start, stop.lsn + stop.inclusive)
    if found:
        timeline, lsn, folder = found
        raise RefusedError(
            f"At {format_lsn(lsn)} of timeline {timeline} the WAL makes a tablespace in {folder}: "
            "a server that replays that would overwrite the files there.",
            hint=f"invoke restore --lsn {timeline}:{format_lsn(lsn)} goes back to right before it. "
            "For later moments: DROP TABLESPACE, then invoke backup.base",
        )


def _is_before(base: Base, resolved: Resolved, descent: Descent) -> bool:
    """A base backup of this line that ended before the stop: its server would run through an earlier one in silence.

    It must have ended by the moment asked for as well. Where the WAL before it is missing, what it holds may have been
    committed later than that.
    """
    in_time = resolved.moment is None or base.stopped <= resolved.moment
    return in_time and base.stop <= resolved.latest and descent.holds(base.timeline, base.stop)


def _with_losses(plan: Plan, situation: Situation) -> Plan:
    """The plan with what is there now and will not be, and what is not and will be.

    The last archived record is the present only where the server that runs has gone no further.
    """
    current, ahead = situation.current(), situation.ahead
    if ahead:
        first = f"; {ahead.remedy} first has the archive receive it" if ahead.remedy else ""
        plan = replace(plan, unknown=f"{NEWEST}{first}")
        current = current if current == ahead.timeline else None
    present = situation.chain.descent(current) if current else None
    last = situation.positions.last_record(present) if present else None
    if not present or not last:
        return plan
    stop = plan.stop.lsn + plan.stop.inclusive
    parting = min(stop, _parting(plan.descent, present))
    returning = situation.positions.between(plan.descent, parting, stop) if parting < stop else None
    if ahead:
        return replace(plan, returning=returning)
    if not situation.positions.covered(present, parting, last[1]):
        return replace(plan, returning=returning, unknown=SOME)
    return replace(plan, undone=situation.positions.between(present, parting, last[1]), returning=returning)


def _parting(one: Descent, other: Descent) -> int:
    """Up to where two lines of descent are one; the greatest position there is where they never part."""
    for ours, theirs in zip(one.stretches, other.stretches, strict=False):
        if ours.timeline != theirs.timeline:
            return min(ours.begin, theirs.begin)
        if ours.end != theirs.end:
            return min(stretch.end for stretch in (ours, theirs) if stretch.end is not None)
    return 1 << 64


def _segments(segments: tuple[Stored, ...]) -> str:
    return f"{len(segments)} segment{'s' if len(segments) != 1 else ''}"


def _counts(summary: Summary) -> dict[str, Any]:
    tables = {
        name: {"inserted": inserted, "updated": updated, "deleted": deleted}
        for name, (inserted, updated, deleted) in summary.tables.items()
    }
    return {"transactions": summary.transactions, "schema_changes": summary.ddl, "tables": tables}


def _told(what: str, summary: Summary | None, unknown: str) -> Iterator[str]:
    if summary is None:
        yield from [f"  {unknown}"] if unknown else []
        return
    schema = f", {summary.ddl} of them changed the schema" if summary.ddl else ""
    yield f"  {what}: {summary.transactions} transaction{'s' if summary.transactions != 1 else ''}{schema}"
    for name, (inserted, updated, deleted) in sorted(summary.tables.items())[:TABLES_SHOWN]:
        yield f"    {name}  +{inserted} ~{updated} -{deleted}"
    if len(summary.tables) > TABLES_SHOWN:
        yield f"    and {len(summary.tables) - TABLES_SHOWN} more tables"
