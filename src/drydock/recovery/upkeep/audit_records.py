"""Every record of the archived WAL read again by pg_waldump, which checks the checksum of each."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from drydock.backup import pg_program, workspace
from drydock.errors import DrydockError
from drydock.recovery.archive import laying_out
from drydock.recovery.archive.folders import Form
from drydock.recovery.upkeep.audit_part import Finding
from drydock.recovery.wal import records
from drydock.recovery.wal.positions import format_lsn, parse_lsn, segment_at

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from drydock.engine import Engine
    from drydock.recovery.archive.folders import Stored
    from drydock.recovery.upkeep.audit import Scope

BATCH = 16  # segments that lie unpacked at a time: 256 MB
HEADER = 40  # bytes of the header that may stand between the end of a record and the next one's position
_PLACE = re.compile(r"(?:record at|record after) ([0-9A-F]+/[0-9A-F]+)")


def problems(scope: Scope, engine: Engine) -> list[Finding]:
    """Where the WAL cannot be read, though the files are what was written; files that are not are passed over."""
    found: list[Finding] = []
    with workspace.working_in(scope.archive.folder) as folder:
        for timeline, pieces in laying_out.pieces(scope.archive).items():
            for piece in pieces:
                reading = _Piece(scope, engine, folder, timeline, piece)
                try:
                    found += reading.findings()
                except (DrydockError, FileNotFoundError):
                    continue  # a file is damaged or encrypted, or has just been sealed: what is wrong is told of itself
    return found


class _Piece:
    """Segments of one timeline that follow each other."""

    def __init__(self, scope: Scope, engine: Engine, folder: Path, timeline: int, piece: Sequence[Stored]) -> None:
        self.scope = scope
        self.engine = engine
        self.folder = folder
        self.timeline = timeline
        self.piece = piece

    def findings(self) -> Iterator[Finding]:
        for batch in self._batches():
            laying_out.lay_out(batch, self.folder, self.scope.sealing)
            said = self._read(batch)
            if said and (found := self._weigh(batch, said)):
                yield found
                return

    def _batches(self) -> Iterator[Sequence[Stored]]:
        """Each begins with the last segment of the one before, for a record may begin there."""
        for begin in range(0, max(1, len(self.piece) - 1), BATCH - 1):
            yield self.piece[begin : begin + BATCH]

    def _read(self, batch: Sequence[Stored]) -> str:
        """What pg_waldump says against a batch; nothing where it can be read to its end."""
        begin, end = batch[0].segment.start, batch[-1].segment.end
        place = (f"--timeline={self.timeline}", f"--start={format_lsn(begin)}", f"--end={format_lsn(end)}")
        process = self.engine.tool("pg_waldump", ["--quiet", "--path=.", *place], folder=self.folder)
        with pg_program.ending(process):
            assert process.stderr is not None
            said = process.stderr.read().decode(errors="replace").strip()
            return said if process.wait() else ""

    def _weigh(self, batch: Sequence[Stored], said: str) -> Finding | None:
        """Damage, or just the end of what has been received: where nobody knows how much that is, it cannot be told."""
        reason, place, tail = said.removeprefix("pg_waldump: error: "), _PLACE.search(said), batch[-2:]
        at = parse_lsn(place[1]) if place else batch[0].segment.start
        where = next((one for one in batch if one.segment == segment_at(self.timeline, at)), batch[0])
        if tail[-1].form is not Form.PARTIAL or at < tail[0].segment.start:
            return Finding(str(where.path), reason)
        if tail[-1].part != self.scope.writing or not self.scope.received:
            return None
        begin, end = tail[0].segment.start, tail[-1].segment.end
        read = records.end_of_wal(self.engine, self.folder, self.timeline, begin, end).end
        if read + HEADER >= self.scope.received:
            return None
        wanted = format_lsn(self.scope.received)
        return Finding(str(where.path), f"it can be read to {format_lsn(read)}, and was received to {wanted}: {reason}")
