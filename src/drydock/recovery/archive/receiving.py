"""Where pg_receivewal goes on, and whether the server can give it that: known before it is started.

It never says so itself: it repeats the same refusal every five seconds for ever, and nothing is archived
(src/bin/pg_basebackup/pg_receivewal.c, FindStreamingStart; src/backend/replication/walsender.c, StartReplication).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from drydock.recovery.archive.folders import Form
from drydock.recovery.wal.positions import SEGMENT_SIZE, parse_lsn

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from drydock.recovery.archive.folders import Part, Stored
    from drydock.recovery.wal.positions import Descent


@dataclass(frozen=True)
class Server:
    """What a server has.

    Attributes:
        descent: of the timeline that it writes.
        flushed: up to where its WAL is on disk.
        segments: the numbers of those in its pg_wal.
    """

    descent: Descent
    flushed: int
    segments: Collection[int]


def resumes_at(stored: Sequence[Stored]) -> tuple[int, int] | None:
    """Timeline and position from which pg_receivewal goes on in a folder; None where it has nothing to go by.

    It goes by the highest number, then the highest timeline, whatever became of that. It sees no sealed segment, and
    passes over a finished one of the wrong size.
    """
    plain = [one for one in stored if one.form is Form.PARTIAL or (one.form is Form.FINISHED and _is_whole(one))]
    if not plain:
        return None
    newest = max(plain, key=lambda one: (one.segment.number, one.segment.timeline, one.form is Form.FINISHED))
    segment = newest.segment
    return segment.timeline, segment.end if newest.form is Form.FINISHED else segment.start


def stunted(stored: Sequence[Stored]) -> list[Stored]:
    """The files that pg_receivewal could not even fill with zeros, on a full disk: none of the WAL is in them yet.

    It leaves such a file behind and refuses it ever after (src/bin/pg_basebackup/receivelog.c, open_walfile).
    """
    return [one for one in stored if one.form is Form.PARTIAL and not _is_whole(one)]


def complete_to(part: Part, stored: Sequence[Stored]) -> int:
    """The position up to which a part holds whole segments."""
    whole = [one.segment.end for one in stored if one.form is not Form.PARTIAL]
    return max([parse_lsn(part.start) // SEGMENT_SIZE * SEGMENT_SIZE, *whole])


def refusal(at: tuple[int, int], server: Server) -> str:
    """Why a server would not stream from a timeline's position on, as a clause; empty where it would."""
    timeline, lsn = at
    if not _streams(server.descent, timeline, lsn):
        return "its newest file does not belong to this server's history"
    if lsn > server.flushed:
        return "its newest file is ahead of this server"
    # A position right behind all there is has no file yet.
    if lsn // SEGMENT_SIZE not in server.segments and lsn < server.flushed:
        return "this server no longer has the WAL that comes next"
    return ""


def _streams(descent: Descent, timeline: int, lsn: int) -> bool:
    """Whether a timeline's WAL is there from a position on: its first segment repeats what was before it began."""
    return any(
        one.timeline == timeline
        and one.begin // SEGMENT_SIZE * SEGMENT_SIZE <= lsn
        and (one.end is None or lsn <= one.end)
        for one in descent.stretches
    )


def _is_whole(stored: Stored) -> bool:
    return stored.path.stat().st_size == SEGMENT_SIZE
