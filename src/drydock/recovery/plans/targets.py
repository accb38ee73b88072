"""How far a restore goes: what people can ask for, one at a time, and how it is written."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from drydock.errors import SettingsError
from drydock.recovery.plans import moments
from drydock.recovery.wal.positions import format_lsn, parse_lsn

if TYPE_CHECKING:
    from datetime import datetime

    from drydock.recovery.plans.moments import Clock

HINT = "invoke restore --at TIME, --before-xid XID, --lsn LSN, --mark NAME or --latest"
FIRST_XID = 3  # FirstNormalTransactionId: the ones below are Postgres's own (src/include/access/transam.h)


@dataclass(frozen=True)
class AtTime:
    """Everything that was committed up to this moment, and nothing that was committed later."""

    moment: datetime
    timeline: int | None = None


@dataclass(frozen=True)
class AtXid:
    """Everything that was committed before a transaction; with `inclusive` that transaction as well."""

    xid: int
    timeline: int | None = None
    inclusive: bool = False


@dataclass(frozen=True)
class AtLsn:
    """Everything before a position; with `inclusive` also the record that begins there."""

    lsn: int
    timeline: int | None = None
    inclusive: bool = False


@dataclass(frozen=True)
class AtMark:
    """What there was when a mark was made."""

    name: str


@dataclass(frozen=True)
class Latest:
    """All there is."""

    timeline: int | None = None


Target = AtTime | AtXid | AtLsn | AtMark | Latest


@dataclass(frozen=True, kw_only=True)
class Words:
    """What was given on the command line; empty for what was not."""

    at: str = ""
    before_xid: str = ""
    lsn: str = ""
    mark: str = ""
    latest: bool = False
    timeline: str = ""


def chosen(words: Words, clock: Clock) -> Target:
    """The one target that was asked for.

    Raises:
        SettingsError: where none was, or several, or it cannot be understood.
        RefusedError: where a time is in the future or names two moments.
    """
    given = [name for name in ("at", "before_xid", "lsn", "mark", "latest") if getattr(words, name)]
    if len(given) != 1:
        flags = " and ".join(f"--{name.replace('_', '-')}" for name in given)
        why = f"{flags} cannot be had together" if given else "It was not said how far back to go"
        raise SettingsError(f"{why}.", hint=HINT)
    timeline = _number(words.timeline, "timeline", 1) if words.timeline else None
    return _target(given[0], words, timeline, clock)


def _target(kind: str, words: Words, timeline: int | None, clock: Clock) -> Target:
    if kind == "at":
        return AtTime(moments.parse(words.at, clock), timeline)
    if kind == "before_xid":
        xid, timeline = _prefixed(words.before_xid, timeline)
        return AtXid(_number(xid, "transaction", FIRST_XID), timeline)
    if kind == "lsn":
        lsn, timeline = _prefixed(words.lsn, timeline)
        return AtLsn(parse_lsn(lsn), timeline)
    if kind == "mark":
        if timeline is not None:
            raise SettingsError("--timeline says nothing about a mark: a mark knows its own.", hint=HINT)
        return AtMark(words.mark)
    return Latest(timeline)


def described(target: Target, clock: Clock) -> str:
    """The target as a sentence's object, with a moment in full."""
    match target:
        case AtTime():
            return clock.shown(target.moment)
        case AtXid():
            where = f"{target.timeline}:{target.xid}" if target.timeline else str(target.xid)
            return f"{'after' if target.inclusive else 'before'} transaction {where}"
        case AtLsn():
            return f"{'after the record at' if target.inclusive else 'position'} {format_lsn(target.lsn)}"
        case AtMark():
            return f"mark {target.name}"
        case _:
            return "all there is"


def _prefixed(text: str, timeline: int | None) -> tuple[str, int | None]:
    """`2:733` is 733 on timeline 2, which a separate --timeline may repeat but not contradict."""
    before, colon, after = text.strip().rpartition(":")
    if not colon:
        return text, timeline
    own = _number(before, "timeline", 1)
    if timeline not in {None, own}:
        raise SettingsError(f"{text!r} is on timeline {own}, and --timeline says {timeline}.", hint=HINT)
    return after, own


def _number(text: str, what: str, least: int) -> int:
    if not re.fullmatch(r"\s*[0-9]{1,19}\s*", text) or int(text) < least:
        raise SettingsError(f"{text!r} is no {what}: those are numbers from {least} on.", hint=HINT)
    return int(text)
