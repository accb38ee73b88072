"""From a plan to what a server is made from: the base backup and the WAL, unpacked and checked on the way."""

from __future__ import annotations

import io
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO

from drydock import rules
from drydock.backup import encryption, packing
from drydock.errors import DamagedError, DrydockError
from drydock.recovery.archive import laying_out
from drydock.recovery.archive.catalogue import Catalogue
from drydock.recovery.archive.folders import PACKED, PARTIAL, plain_name
from drydock.recovery.bases import base
from drydock.recovery.restores.rewind import Piece, Recipe
from drydock.recovery.upkeep import sealing
from drydock.recovery.wal.positions import SEGMENT_SIZE, history_name

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from drydock.backup.encryption import Sealing
    from drydock.recovery.archive.folders import Archive, Stored
    from drydock.recovery.plans.plan import Plan
    from drydock.recovery.wal.positions import Descent, Segment
    from drydock.settings import Settings

# Of what a base backup knows of its server, what a standby may not have less of (manual 27.4.3).
NEEDED = (
    "max_connections",
    "max_worker_processes",
    "max_wal_senders",
    "max_prepared_transactions",
    "max_locks_per_transaction",
)

LEAST = 128 << 20  # bytes: PostgreSQL's default for shared_buffers


def make(settings: Settings, archive: Archive, plan: Plan) -> Recipe:
    """What the planned moment is made from.

    Raises:
        DrydockError: where a file cannot be decrypted here.
    """
    opening, found = encryption.sealing(settings), base.read(archive, archive.bases / plan.base.name)
    pieces = _Pieces(archive, opening)
    laid = [(segment, stored) for stored in plan.segments for segment in _names(stored.segment, plan.descent)]
    in_base = found.stop // SEGMENT_SIZE
    return Recipe(
        base=lambda: base.unpacked(found, opening),
        wal=[pieces.of(stored, segment) for segment, stored in laid if segment.number > in_base],
        last=[
            *(pieces.of(stored, segment) for segment, stored in laid if segment.number <= in_base),
            *pieces.histories(),
        ],
        settings={name: value for name, value in found.manifest.settings.items() if name in NEEDED} | _memory(settings),
        stop=plan.stop,
    )


def _names(segment: Segment, descent: Descent) -> tuple[Segment, ...]:
    """What a segment is called in pg_wal: itself, and as part of the timelines that were left within it.

    Replay reads it by its own name. But where the first record of a timeline is a shutdown checkpoint, it reads once
    more what was prepared and is neither committed nor rolled back (StandbyRecoverPreparedTransactions), and does so
    by the timeline of the record before: "requested WAL segment has already been removed" (read_local_xlog_page,
    src/backend/access/transam/xlogutils.c).
    """
    return (segment, *descent.left_within(segment))


def _memory(settings: Settings) -> dict[str, str]:
    """Half of what the server may have, for the pages that replay comes back to: a sixth of its time, with 1 GB of WAL.

    It takes only what it touches. No more than a quarter of the machine's: the environment's own server runs on.
    """
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    most = min(rules.BYTES[1](settings.postgres_memory) // 2, machine // 4)
    return {"shared_buffers": f"{max(most, LEAST) >> 20}MB"}


class _Pieces:
    """The files of an archive as a server's pg_wal has them."""

    def __init__(self, archive: Archive, sealing: Sealing) -> None:
        self.archive, self.sealing = archive, sealing
        self.known = {(row.part, row.file): row.packed for row in Catalogue(archive).rows()}

    def of(self, stored: Stored, segment: Segment) -> Piece:
        """A segment under the bare name of another, whatever form it is kept in."""
        return Piece(segment.name, SEGMENT_SIZE, lambda: _stream(self._segment(stored)))

    def _segment(self, stored: Stored) -> bytes:
        """A segment's content. Since the plan was made it may have been finished, or sealed: any form of it is good."""
        forms = [found for found in self.archive.segments(stored.part) if found.segment == stored.segment]
        for found in (stored, *reversed(forms)):
            with suppress(FileNotFoundError):
                return self._read(found.path, found.segment.name)
        raise DrydockError(f"{stored.path} is gone.", hint="invoke archive.verify")

    def histories(self) -> list[Piece]:
        """Every history file there is; copies of one are alike, or there would be no plan."""
        texts = laying_out.histories(self.archive, lambda path: self._read(path, plain_name(path.name)))
        return [_piece(history_name(timeline), text[0]) for timeline, text in texts.items()]

    def _read(self, path: Path, name: str) -> bytes:
        """The content of a file, which is the one in the catalogue, or proves itself.

        Raises:
            DrydockError: where it is damaged.
        """
        if PACKED in path.name and not path.exists():
            raise FileNotFoundError(path)
        content = self._unpacked(path) if PACKED in path.name else path.read_bytes()
        # The end of one that was being received may be anything; the plan has read how far it reaches.
        problem = "" if PARTIAL in path.name else sealing.wrong(content, name, self.archive.system_identifier)
        if problem:
            raise DamagedError(f"{path} is damaged: {problem}.", hint=laying_out.VERIFY)
        return content

    def _unpacked(self, path: Path) -> bytes:
        target, expected = io.BytesIO(), self.known.get((path.parent.name, path.name))
        if not expected:
            laying_out.unpack(path, target, self.sealing)
            return target.getvalue()
        try:
            packing.unpack_at_once(path, target, expected, self.sealing)
        except DamagedError as error:
            raise DamagedError(error.message, hint=laying_out.VERIFY) from error
        return target.getvalue()


def _piece(name: str, content: bytes) -> Piece:
    return Piece(name, len(content), lambda: _stream(content))


@contextmanager
def _stream(content: bytes) -> Iterator[BinaryIO]:
    yield io.BytesIO(content)
