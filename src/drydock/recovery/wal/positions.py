"""Positions in the WAL, the segments it is cut into, and the timelines that branch off: names and arithmetic.

PostgreSQL manual 30.6 (WAL Internals) and 26.3.5 (Timelines); src/include/access/xlog_internal.h.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from drydock.errors import DrydockError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator

# Bytes. initdb's default, and both engines leave it there.
SEGMENT_SIZE = 16 << 20
NAME = re.compile(r"[0-9A-F]{24}")
HISTORY = re.compile(r"([0-9A-F]{8})\.history")
PAGE_MAGIC = 0xD113  # XLOG_PAGE_MAGIC of PostgreSQL 16
_LONG_HEADER = 0x0002  # XLP_LONG_HEADER: what the first page of every segment has
# XLogLongPageHeaderData: magic, info, timeline, page address, what is left of a record; padding; then the
# system identifier, the segment's size and the page's.
_HEADER = struct.Struct("=HHIQI4xQII")


def parse_lsn(text: str) -> int:
    """A position such as `0/16B3748` as the number of bytes before it.

    Raises:
        SettingsError: where the text is none.
    """
    found = re.fullmatch(r"([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})", text.strip())
    if not found:
        raise SettingsError(f"{text!r} is not a position in the WAL.", hint="Write it as Postgres does: 0/16B3748")
    return (int(found[1], 16) << 32) + int(found[2], 16)


def format_lsn(lsn: int) -> str:
    """A position as Postgres writes it."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


@dataclass(frozen=True, order=True)
class Segment:
    """16 MiB of the WAL of one timeline; `number` counts them from the beginning of the WAL."""

    timeline: int
    number: int

    @property
    def name(self) -> str:
        """The file's name, without suffixes."""
        high, low = divmod(self.number, (1 << 32) // SEGMENT_SIZE)
        return f"{self.timeline:08X}{high:08X}{low:08X}"

    @property
    def start(self) -> int:
        """Position of its first byte."""
        return self.number * SEGMENT_SIZE

    @property
    def end(self) -> int:
        """Position after its last byte."""
        return self.start + SEGMENT_SIZE


def segment_named(name: str) -> Segment:
    """The segment whose file has this name; raises ValueError for other names."""
    if not NAME.fullmatch(name):
        raise ValueError(name)
    timeline, high, low = (int(name[i : i + 8], 16) for i in (0, 8, 16))
    return Segment(timeline, high * ((1 << 32) // SEGMENT_SIZE) + low)


def segment_at(timeline: int, lsn: int) -> Segment:
    """The segment of a timeline that holds the byte at a position."""
    return Segment(timeline, lsn // SEGMENT_SIZE)


@dataclass(frozen=True)
class Header:
    """What the first page of a segment says: whose WAL it is, of which timeline, and from which position on."""

    system_identifier: str
    timeline: int
    start: int


def read_header(data: bytes) -> Header | None:
    """The header at the beginning of a segment's content; None where it is none of PostgreSQL 16's WAL.

    The page's timeline is that of the segment's name, but for pages that were written before a switch.
    """
    if len(data) < _HEADER.size:
        return None
    magic, info, timeline, address, _rest, system, segment_size, _page = _HEADER.unpack_from(data)
    if magic != PAGE_MAGIC or not info & _LONG_HEADER or segment_size != SEGMENT_SIZE:
        return None
    return Header(str(system), timeline, address)


@dataclass(frozen=True)
class Stretch:
    """The part of a timeline that belongs to a line of descent: from `begin` up to, not including, `end`.

    `end` is None for the last one.
    """

    timeline: int
    begin: int
    end: int | None


@dataclass(frozen=True)
class Descent:
    """The timelines that lead to one of them, oldest first."""

    stretches: tuple[Stretch, ...]

    @property
    def timeline(self) -> int:
        """The one they lead to."""
        return self.stretches[-1].timeline

    def timeline_at(self, lsn: int) -> int:
        """The timeline that the byte at a position belongs to."""
        return next(s.timeline for s in reversed(self.stretches) if lsn >= s.begin)

    def holds(self, timeline: int, lsn: int) -> bool:
        """True where everything up to a position of a timeline is part of this descent."""
        return any(
            s.timeline == timeline and s.begin <= lsn and (s.end is None or lsn <= s.end) for s in self.stretches
        )

    def segments(self, start: int, end: int) -> Iterator[Segment]:
        """The segments that a server reads to go from one position to another (`end` not included).

        The one in which a timeline begins is read from that timeline's own file, which repeats what was before.
        """
        for number in range(start // SEGMENT_SIZE, (max(end, start + 1) - 1) // SEGMENT_SIZE + 1):
            last = (number + 1) * SEGMENT_SIZE - 1
            yield Segment(self.timeline_at(min(last, max(end, start + 1) - 1)), number)

    def left_within(self, segment: Segment) -> Iterator[Segment]:
        """The same segment of the timelines that this line left within it for the segment's own: beginnings of it."""
        for stretch in self.stretches:
            if stretch.timeline < segment.timeline and stretch.end and segment.start < stretch.end <= segment.end:
                yield Segment(stretch.timeline, segment.number)


def history_name(timeline: int) -> str:
    """The name of a timeline's history file."""
    return f"{timeline:08X}.history"


def parse_history(timeline: int, text: str) -> Descent:
    """What a timeline's history file says: a line for each timeline before it, with the position it was left at.

    Raises:
        DrydockError: where a line is none, or they are not in order.
    """
    stretches: list[Stretch] = []
    begin = 0
    for line in text.splitlines():
        words = line.split("#", 1)[0].split()
        if not words:
            continue
        try:
            before, end = int(words[0]), parse_lsn(words[1])
        except (ValueError, IndexError, SettingsError):
            raise DrydockError(f"{history_name(timeline)} is damaged: {line!r} is not a line of it.") from None
        if end < begin or (stretches and before <= stretches[-1].timeline) or before >= timeline:
            raise DrydockError(f"{history_name(timeline)} is damaged: {line!r} is out of order.")
        stretches.append(Stretch(before, begin, end))
        begin = end
    return Descent((*stretches, Stretch(timeline, begin, None)))
