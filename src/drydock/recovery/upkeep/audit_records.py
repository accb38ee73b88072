"""Every record of the archived WAL read again by pg_waldump, which checks the checksum of each."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from drydock.backup import workspace
from drydock.errors import DrydockError
from drydock.recovery.archive import laying_out
from drydock.recovery.archive.folders import Form
from drydock.recovery.archive.proving import Prover
from drydock.recovery.upkeep.audit_part import Finding
from drydock.recovery.wal import records
from drydock.recovery.wal.positions import format_lsn, parse_lsn, segment_at
from drydock.recovery.wal.waldump import WaldumpError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drydock.engine import Engine
    from drydock.recovery.archive.folders import Stored
    from drydock.recovery.archive.proving import Laid
    from drydock.recovery.upkeep.audit import Scope

BATCH = 8  # segments that are read at a time; as many again lie unpacked beside them
HEADER = 40  # bytes of the header that may stand between the end of a record and the next one's position
_PLACE = re.compile(r"(?:record at|record after) ([0-9A-F]+/[0-9A-F]+)")


def problems(scope: Scope, engine: Engine) -> list[Finding]:
    """Where the WAL cannot be read, though the files are what was written; files that are not are passed over."""
    found: list[Finding] = []
    try:
        timelines = laying_out.pieces(scope.archive)
    except DrydockError:
        return found  # a part's description is damaged: the audit tells that
    with (
        workspace.working_in(scope.archive.folder) as folder,
        Prover(engine, scope.archive, scope.sealing, folder) as prover,
    ):
        for timeline, pieces in timelines.items():
            for piece in pieces:
                try:
                    found += _Piece(scope, engine, prover, timeline, piece).findings()
                except (DrydockError, FileNotFoundError):
                    continue  # a file is damaged or encrypted, or has just been sealed: what is wrong is told of itself
    return found


class _Piece:
    """Segments of one timeline that follow each other."""

    def __init__(self, scope: Scope, engine: Engine, prover: Prover, timeline: int, piece: list[Stored]) -> None:
        self.scope = scope
        self.engine = engine
        self.prover = prover
        self.timeline = timeline
        self.piece = piece

    def findings(self) -> Iterator[Finding]:
        batches = self._batches()
        for batch, following in zip(batches, [*batches[1:], []], strict=True):
            try:
                laid = self.prover.prove(batch, batch[0].segment.start, following)
            except WaldumpError as error:
                yield Finding(str(batch[0].path), error.message)
                return
            if laid.problem and (found := self._weigh(batch, laid)):
                yield found
                return

    def _batches(self) -> list[list[Stored]]:
        """Each begins with the last segment of the one before, for a record may begin there."""
        return [self.piece[begin : begin + BATCH] for begin in range(0, max(1, len(self.piece) - 1), BATCH - 1)]

    def _weigh(self, batch: list[Stored], laid: Laid) -> Finding | None:
        """Damage, or just the end of what has been received: where nobody knows how much that is, it cannot be told."""
        place, tail = _PLACE.search(laid.problem), batch[-2:]
        at = parse_lsn(place[1]) if place else batch[0].segment.start
        where = next((one for one in batch if one.segment == segment_at(self.timeline, at)), batch[0])
        if tail[-1].form is not Form.PARTIAL or at < tail[0].segment.start:
            return Finding(str(where.path), laid.problem)
        if tail[-1].part != self.scope.writing or not self.scope.received:
            return None
        begin, end = tail[0].segment.start, tail[-1].segment.end
        read = records.end_of_wal(self.engine, laid.folder, self.timeline, begin, end).end
        if read + HEADER >= self.scope.received:
            return None
        told = f"it can be read to {format_lsn(read)}, and was received to {format_lsn(self.scope.received)}"
        return Finding(str(where.path), f"{told}: {laid.problem}")
