"""Segments laid out and proven by pg_waldump: those that come next, while the ones before are still being read.

pg_waldump is a program of its own, and on Docker each run of it begins with a container: another processor does that.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from drydock.recovery.archive import laying_out
from drydock.recovery.wal import waldump

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Future
    from pathlib import Path
    from types import TracebackType

    from drydock.backup.encryption import Sealing
    from drydock.engine import Engine
    from drydock.recovery.archive.folders import Archive, Stored

ATTEMPTS = 3  # at laying segments out that are being sealed meanwhile


@dataclass(frozen=True)
class Laid:
    """Segments that lie in a folder, and why not all of their records are valid, as `waldump.unreadable` says it."""

    folder: Path
    problem: str


class Prover:
    """Lays segments out in two folders by turns. What it gave is there until it is asked for what comes after the next.

    Args:
        engine: whose pg_waldump.
        archive: where the segments are.
        sealing: opens those that are encrypted.
        folder: to work in.
    """

    def __init__(self, engine: Engine, archive: Archive, sealing: Sealing, folder: Path) -> None:
        self._engine, self._archive, self._sealing = engine, archive, sealing
        self._here, self._there = folder / "0", folder / "1"
        self._thread = ThreadPoolExecutor(1)
        self._ahead: tuple[list[Stored], Future[Laid]] | None = None

    def __enter__(self) -> Self:
        """Make its folders."""
        for folder in (self._here, self._there):
            folder.mkdir(mode=0o700)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for what is still being done: it works in folders that are about to be removed."""
        self._thread.shutdown(cancel_futures=True)

    def prove(self, batch: list[Stored], start: int, following: list[Stored]) -> Laid:
        """Have these segments proven from a record on, and begin with those that will be wanted next.

        Args:
            batch: segments of one timeline that follow one another.
            start: the position of a record in the first of them, or the beginning of that segment.
            following: what comes next, from the last segment of `batch` on; empty where nothing does.

        Raises:
            WaldumpError: where pg_waldump fails.
            DamagedSegmentError: where the file of a segment is damaged.
            DrydockError: where pg_waldump cannot be run, or a packed segment cannot be decrypted.
            FileNotFoundError: where one is gone.
        """
        found = self._proven_ahead(batch, start) or self._prove(batch, start, self._here)
        self._here, self._there = self._there, self._here
        if following:
            work = self._thread.submit(self._prove, following, following[0].segment.start, self._here)
            self._ahead = following, work
        return found

    def _proven_ahead(self, batch: list[Stored], start: int) -> Laid | None:
        """What was begun before, where it is these segments, and says of the records from `start` on how far they go.

        None otherwise, and where it failed: whoever does it again fails alike, or does not.
        """
        if self._ahead is None:
            return None
        (begun, work), self._ahead = self._ahead, None
        if work.exception() or begun != batch:
            return None
        found = work.result()
        last = waldump.last_valid(found.problem)
        return found if not found.problem or (last is not None and last >= start) else None

    def _prove(self, batch: Sequence[Stored], start: int, folder: Path) -> Laid:
        self._lay_out(batch, folder)
        timeline, end = batch[0].segment.timeline, batch[-1].segment.end
        return Laid(folder, waldump.unreadable(self._engine, folder, timeline, start, end))

    def _lay_out(self, batch: Sequence[Stored], folder: Path) -> None:
        """From wherever they lie by now."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                laying_out.lay_out(batch, folder, self._sealing)
            except FileNotFoundError:
                if attempt == ATTEMPTS:
                    raise
                now = {s.segment: s for ps in laying_out.pieces(self._archive).values() for piece in ps for s in piece}
                batch = [now.get(stored.segment, stored) for stored in batch]
            else:
                return
