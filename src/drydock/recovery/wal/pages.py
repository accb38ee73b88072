"""The content of a segment, page by page: is it the WAL that the file's name says, whole, and of this cluster?

Every page of WAL begins with its own position and timeline (src/include/access/xlog_internal.h), so that swapped,
zeroed and torn pages show. What is flipped inside of a record only its checksum tells: that is pg_waldump's to read.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from drydock.recovery.wal.positions import PAGE_MAGIC, SEGMENT_SIZE, format_lsn, read_header

if TYPE_CHECKING:
    from drydock.recovery.wal.positions import Descent, Segment

SIZE = 8192
_PAGE = struct.Struct(f"=HHIQ{SIZE - 16}x")  # magic, info, timeline, position, and all that follows
_ZEROS = bytes(SIZE)


def problem(data: bytes, segment: Segment, system_identifier: str, descent: Descent | None = None) -> str:
    """What is wrong with a segment's content, as a clause; empty where nothing is.

    The end of a segment may be unused: WAL moves on to the next one when somebody asks (pg_switch_wal), and after a
    base backup. It is zeros then, up to the end.

    Args:
        data: all of it.
        segment: what its name says.
        system_identifier: whose WAL it is to be.
        descent: of its timeline; without it a page may be of any earlier timeline as well.
    """
    if len(data) != SEGMENT_SIZE:
        return f"it has {len(data)} bytes instead of {SEGMENT_SIZE}"
    header = read_header(data)
    if header is None:
        return "it does not begin as WAL of PostgreSQL 16 does"
    if header.system_identifier != system_identifier:
        return f"it is the WAL of another cluster ({header.system_identifier})"
    return _pages(data, segment, descent)


def _pages(data: bytes, segment: Segment, descent: Descent | None) -> str:
    before = 0
    for lsn, (magic, _info, timeline, position) in zip(
        range(segment.start, segment.end, SIZE), _PAGE.iter_unpack(data), strict=True
    ):
        if not magic and data.startswith(_ZEROS, lsn - segment.start):
            rest = segment.end - lsn
            return "" if data.endswith(bytes(rest)) else f"a page is missing at {format_lsn(lsn)}"
        if magic != PAGE_MAGIC or position != lsn:
            return f"the page at {format_lsn(lsn)} is not the one that belongs there"
        expected = descent.timeline_at(lsn) if descent else max(before, min(timeline, segment.timeline))
        if timeline != expected:
            return f"the page at {format_lsn(lsn)} is of timeline {timeline}, not {expected}"
        before = timeline
    return ""
