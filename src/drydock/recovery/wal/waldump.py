"""The WAL as lines: pg_waldump of the server's own version, over segments that lie in a work folder."""

from __future__ import annotations

import re
import subprocess
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from drydock.backup.pg_program import ending
from drydock.errors import DrydockError
from drydock.recovery.wal.positions import SEGMENT_SIZE, format_lsn, parse_lsn

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from drydock.engine import Engine

CHUNK = 1 << 20
PAGE = 8192
SHORT_HEADER, LONG_HEADER = 24, 40  # SizeOfXLogShortPHD and SizeOfXLogLongPHD (src/include/access/xlog_internal.h)
ALIGNMENT = 8
_RECORD = re.compile(rb"rmgr: \S+ +len \(rec/tot\): +\d+/ *(\d+), tx: +\d+, lsn: ([^,]+),[^\n]*? desc: (\w*)")
# What it says where the WAL just ends: in zeros, in a recycled segment, or within a record.
_NO_RECORD = ("error in WAL record at", "could not find a valid record after")


class WaldumpError(DrydockError):
    """pg_waldump failed otherwise than by coming to the end of the WAL."""


@dataclass(frozen=True)
class Reach:
    """How far the WAL was read.

    Attributes:
        start: of the last record seen; None where there was none.
        end: position after it, where the next one begins.
        problem: why no more could be read; empty where everything asked for was.
    """

    start: int | None
    end: int
    problem: str = ""


class Reading:
    """One run of pg_waldump.

    Args:
        engine: whose pg_waldump.
        folder: where the segments are, under their bare names.
        timeline: whose segments.
        start: the position of a record, or of a segment whose first whole record is meant.
        end: where to stop. A record that goes on behind it is left out.
        quiet: it prints nothing, and so proves the records (each has a checksum) about five times as fast.

    Attributes:
        problem: why no more could be read, after the last chunk; empty where everything asked for was.
    """

    def __init__(
        self, engine: Engine, folder: Path, timeline: int, start: int, end: int, *, quiet: bool = False
    ) -> None:
        self.engine = engine
        self.folder = folder
        self.problem = ""
        self._arguments = [
            "--path=.",
            f"--timeline={timeline}",
            f"--start={format_lsn(start)}",
            f"--end={format_lsn(end)}",
            *(["--quiet"] if quiet else []),
        ]

    def chunks(self) -> Generator[bytes, None, None]:
        """Whole lines, about a megabyte at a time. What somebody may choose stands in them, line feeds too.

        Raises:
            WaldumpError: where pg_waldump fails otherwise than by coming to the end of the WAL.
        """
        for more in (True, False):
            silent = True
            process = self.engine.tool("pg_waldump", self._arguments, folder=self.folder, stdout=subprocess.PIPE)
            with ending(process):
                assert process.stdout is not None
                assert process.stderr is not None
                while chunk := process.stdout.read(CHUNK):
                    silent = False
                    yield chunk + process.stdout.readline()
                said = process.stderr.read().decode(errors="replace").strip()
                code = process.wait()
            # Once in some thousand runs, on a busy Docker engine, it ended within 0.3 s without a word. It has one for
            # everything that it can meet in the WAL: this was not its own doing, and nothing was read yet.
            if not (more and code and silent and not said):
                break
        if code:
            self._end(said, code)

    def _end(self, said: str, code: int) -> None:
        reason = said.removeprefix("pg_waldump: error: ")
        if not any(words in reason for words in _NO_RECORD):
            told = reason or f"it ended with code {code} and said nothing"
            raise WaldumpError(f"pg_waldump failed: {told}.", hint="invoke archive.verify")
        self.problem = reason


def unreadable(engine: Engine, folder: Path, timeline: int, start: int, end: int) -> str:
    """Why not all records from `start` to `end` are valid; empty where they are.

    Raises:
        WaldumpError: as `Reading.chunks`.
    """
    reading = Reading(engine, folder, timeline, start, end, quiet=True)
    for _chunk in reading.chunks():
        pass
    return reading.problem


def last_valid(problem: str) -> int | None:
    """The last valid record, where `unreadable` says so."""
    found = re.match(r"error in WAL record at ([0-9A-F]+/[0-9A-F]+)", problem)
    return parse_lsn(found[1]) if found else None


def first_record(engine: Engine, folder: Path, timeline: int, start: int, end: int) -> tuple[int, int] | None:
    """Start and end of the first record that begins at `start` or later, and ends by `end`, whatever its kind.

    Raises:
        WaldumpError: as `Reading.chunks`.
    """
    with closing(Reading(engine, folder, timeline, start, end).chunks()) as chunks:
        found = _RECORD.search(next(chunks, b""))
    return (parse_lsn(found[2].decode()), _end(found)) if found else None


def record_end(start: int, length: int) -> int:
    """Where a record of `length` bytes ends that begins at `start`: the headers of pages in between count.

    It is the position a server reports and, but for a page's header, that of the next record: rounded up to 8 bytes.
    """
    left, position = -(-length // ALIGNMENT) * ALIGNMENT, start
    if 0 < start % PAGE <= PAGE - left:  # within a page, as most are
        return start + left
    while left:
        if position % PAGE == 0:
            position += LONG_HEADER if position % SEGMENT_SIZE == 0 else SHORT_HEADER
        step = min(left, PAGE - position % PAGE)
        position += step
        left -= step
    return position


def _end(found: re.Match[bytes]) -> int:
    """Where the record of a line ends: what comes after a switch is the next segment."""
    start = parse_lsn(found[2].decode())
    return _segment_end(start) if found[3] == b"SWITCH" else record_end(start, int(found[1]))


def _segment_end(position: int) -> int:
    return (position // SEGMENT_SIZE + 1) * SEGMENT_SIZE
