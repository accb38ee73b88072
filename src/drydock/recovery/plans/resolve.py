"""From what somebody asked for to one record of the WAL: the timeline, the record, and whether it still happens.

The server is only ever told a record's position and a timeline's number (manual 20.5.6). Told a time, it would stop
wherever a base backup lets it; told a transaction, at whichever of that number it meets first; told neither, at the
first damaged page: each with exit code 0 and the wrong rows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from drydock.errors import RefusedError
from drydock.recovery.archive import lives
from drydock.recovery.plans import windows
from drydock.recovery.plans.moments import spelled
from drydock.recovery.plans.situation import is_reached
from drydock.recovery.plans.targets import AtLsn, AtMark, AtTime, AtXid, Latest, Target
from drydock.recovery.wal.positions import format_lsn, parse_lsn

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from drydock.recovery.plans.questions import Commit
    from drydock.recovery.plans.situation import Situation
    from drydock.recovery.wal.positions import Descent

# Transactions take their time before they write it, so neighbours may be out of order; more than that is a clock that
# was set back.
JITTER = timedelta(seconds=5)


@dataclass(frozen=True)
class Stop:
    """Where recovery ends: before the record that begins at `lsn`, or, where `inclusive`, after it."""

    timeline: int
    lsn: int
    inclusive: bool


@dataclass(frozen=True)
class Resolved:
    """A stop, and what a plan for it has to reach from where.

    Attributes:
        stop: the record.
        end: its end, up to which WAL is read.
        latest: the position that no base backup may end after: what lies between it and the stop must be known.
        moment: the moment that no base backup may end after, if a moment was asked for.
    """

    stop: Stop
    end: int
    latest: int
    moment: datetime | None = None


def resolve(target: Target, situation: Situation) -> Resolved:
    """The record at which a restore to `target` ends.

    Raises:
        RefusedError: where there is none, or more than one it could be.
    """
    match target:
        case AtTime():
            return _at_time(target, situation)
        case AtXid():
            return _at_xid(target, situation)
        case AtLsn():
            return _at_lsn(target, situation)
        case AtMark():
            return _at_mark(target, situation)
        case Latest():
            return _last(situation, _descent(situation, target.timeline))


def _at_time(target: AtTime, situation: Situation) -> Resolved:
    moment, positions = target.moment, situation.positions
    descent = situation.chain.descent(target.timeline or _lived(moment, situation))
    after = positions.first_after(descent, moment)
    if after is None:
        newest = situation.newest(descent)
        if newest is None or newest < moment:
            raise _too_late(situation, descent, newest)
        found = _last(situation, descent)
        return replace(found, moment=moment)
    until = positions.last_until(descent, moment)
    well_after = positions.first_after(descent, moment + JITTER)
    if until and well_after and well_after.lsn < until.lsn:
        raise RefusedError(
            f"{situation.clock.shown(moment)} passed twice: the server's clock was set back later on.",
            hint=f"Say which: --lsn {_prefixed(after)} or --lsn {until.timeline}:{format_lsn(until.end)}",
        )
    return _before(descent, after, moment)


def _lived(moment: datetime, situation: Situation) -> int:
    """The timeline that was lived at a moment."""
    index = lives.index_at(situation.lives, moment)
    if index is None:
        first = situation.lives[0].since if situation.lives else None
        since = f"begins at {situation.clock.shown(first)}" if first else "is empty"
        told = f"{situation.clock.shown(moment)} cannot be restored: the archive {since}."
        raise RefusedError(f"{told} {windows.told(situation)}", hint="invoke restore with a target in it")
    now = situation.timeline_of(situation.lives[index].part) or _no_timeline(situation.lives[index].part)
    before = situation.timeline_of(situation.lives[index - 1].part) if index else None
    if before and before != now:
        _refuse_overlap(moment, situation, before, now)
    return now


def _refuse_overlap(moment: datetime, situation: Situation, before: int, now: int) -> None:
    """Ask where the life before still committed something after the moment, before it was lived again."""
    again = [life.since for life in situation.lives if situation.timeline_of(life.part) == before]
    later = min((since for since in again if since > moment), default=None)
    found = situation.positions.first_after(situation.chain.descent(before), moment)
    if found and found.timeline == before and (later is None or found.moment < later):
        raise RefusedError(
            f"At {situation.clock.shown(moment)} one server was taking over from another.",
            hint=f"Say whose data: --timeline {before} or --timeline {now}",
        )


def _at_xid(target: AtXid, situation: Situation) -> Resolved:
    ends = {(end.timeline, end.lsn): end for end in situation.positions.commits_of(target.xid)}
    found = [end for end in ends.values() if target.timeline is None or _on(situation, target.timeline, end)]
    if not found:
        where = f" on timeline {target.timeline}" if target.timeline else ""
        raise RefusedError(
            f"No transaction {target.xid} ends{where} in the archive.", hint="invoke history lists them."
        )
    if len(found) > 1:
        raise _which(target.xid, found)
    if not found[0].committed:
        raise RefusedError(
            f"Transaction {target.xid} was rolled back: it changed nothing that could be taken back.",
            hint="invoke history lists those that were committed.",
        )
    end = found[0]
    stop = Stop(end.timeline, end.lsn, target.inclusive)
    return Resolved(stop, end.end, end.lsn)


def _on(situation: Situation, timeline: int, end: Commit) -> bool:
    return situation.chain.descent(timeline).holds(end.timeline, end.end)


def _which(xid: int, ends: Sequence[Commit]) -> RefusedError:
    said = [
        f"{end.timeline}:{xid} ({'committed' if end.committed else 'rolled back'} at {spelled(end.moment)})"
        for end in sorted(ends, key=lambda end: (end.moment, end.timeline))
    ]
    if len({end.timeline for end in ends}) == len(ends):
        hint = "Say which: " + " or ".join(f"--before-xid {end.timeline}:{xid}" for end in ends)
    else:
        hint = "Say which: " + " or ".join(f"--lsn {_prefixed(end)}" for end in ends)
    return RefusedError(f"Transactions have this number more than once: {', '.join(said)}.", hint=hint)


def _at_lsn(target: AtLsn, situation: Situation) -> Resolved:
    reaching = {line: reached for line in _lines(target, situation) if (reached := _reach(situation, line, target.lsn))}
    if not reaching:
        raise _unreached(target, situation)
    if len(reaching) > 1:
        hint = " or ".join(f"--lsn {line}:{format_lsn(target.lsn)}" for line in sorted(reaching))
        raise RefusedError(
            f"Position {format_lsn(target.lsn)} is on several timelines, whose data differ there.",
            hint=f"Say which: {hint}",
        )
    ((timeline, (start, end)),) = reaching.items()
    past = start < target.lsn
    return Resolved(Stop(timeline, start, past or target.inclusive), end, min(start, target.lsn))


def _lines(target: AtLsn, situation: Situation) -> set[int]:
    """The timelines that a position can be on."""
    known = [target.timeline] if target.timeline else situation.chain.timelines()
    return {situation.chain.descent(timeline).timeline_at(target.lsn) for timeline in known}


def _reach(situation: Situation, timeline: int, lsn: int) -> tuple[int, int] | None:
    """The record of a timeline that a position leads to: the next one, or the last one that ends there."""
    descent = situation.chain.descent(timeline)
    if found := situation.positions.record_from(descent, lsn):
        return found
    last = situation.positions.last_record(descent)
    return last if last and last[0] < lsn and is_reached(lsn, last[1]) else None


def _unreached(target: AtLsn, situation: Situation) -> RefusedError:
    line = _descent(situation, target.timeline)
    last = situation.positions.last_record(line)
    if last is None or last[0] < target.lsn:
        return _too_late(situation, line, situation.newest(line))
    return RefusedError(
        f"The WAL at position {format_lsn(target.lsn)} of timeline {line.timeline} is not in the archive, "
        f"or cannot be read. {windows.told(situation)}",
        hint="invoke archive.verify shows every hole.",
    )


def _at_mark(target: AtMark, situation: Situation) -> Resolved:
    marks = [mark for mark in situation.marks if mark.name == target.name]
    if not marks:
        names = ", ".join(mark.name for mark in situation.marks[-5:]) or "there are none"
        raise RefusedError(f"There is no mark {target.name!r}.", hint=f"Marks: {names}")
    if len(marks) > 1:
        hint = " or ".join(f"--lsn {mark.timeline}:{mark.lsn}" for mark in marks)
        raise RefusedError(f"{len(marks)} marks are called {target.name!r}.", hint=f"Say which: {hint}")
    return _at_lsn(AtLsn(parse_lsn(marks[0].lsn), marks[0].timeline), situation)


def _descent(situation: Situation, timeline: int | None) -> Descent:
    """The line of a timeline that was named, or else of the one that is lived now."""
    return situation.chain.descent(timeline or situation.current() or _no_timeline(situation.lives[-1].part))


def _no_timeline(part: str) -> int:
    raise RefusedError(
        f"None of the WAL that was written in part {part} of the archive has arrived there.",
        hint="invoke doctor; --timeline N names another timeline",
    )


def _last(situation: Situation, descent: Descent) -> Resolved:
    """After the last record of a line of descent, which must be in its last segment: before it, WAL is damaged."""
    last = situation.positions.last_record(descent)
    if last is None:
        raise RefusedError(f"There is no WAL of timeline {descent.timeline} in the archive.", hint="invoke doctor")
    newest, received = situation.chain.last_segment(descent.timeline), situation.received
    beyond = newest.start if newest else 0
    if received and descent.holds(received.timeline, received.lsn):
        beyond = max(beyond, received.lsn)
    if not is_reached(beyond, last[1]):
        raise RefusedError(
            f"The WAL of timeline {descent.timeline} can be read up to {format_lsn(last[1])} only, "
            f"and there was more of it, up to {format_lsn(beyond)}.",
            hint="invoke archive.verify shows what is damaged or missing.",
        )
    return Resolved(Stop(descent.timeline_at(last[0]), last[0], inclusive=True), last[1], last[0])


def _before(descent: Descent, end: Commit, moment: datetime) -> Resolved:
    return Resolved(Stop(descent.timeline_at(end.lsn), end.lsn, inclusive=False), end.end, end.lsn, moment)


def _prefixed(end: Commit) -> str:
    return f"{end.timeline}:{format_lsn(end.lsn)}"


def _too_late(situation: Situation, descent: Descent, newest: datetime | None) -> RefusedError:
    if newest is None:
        return RefusedError(f"There is no WAL of timeline {descent.timeline} in the archive.", hint="invoke doctor")
    shown, hint = situation.clock.shown(newest), f'invoke restore --at "{spelled(newest)}", or invoke restore --latest'
    if situation.ahead and situation.ahead.remedy:
        hint = f"{situation.ahead.remedy}, which has the archive receive what is newer; else {hint}"
    return RefusedError(
        f"This is later than the last WAL there is: the newest moment that can be proven is {shown}.", hint=hint
    )
