"""Bringing the index up to the newest record in the archive: every stretch of WAL is read once."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

from drydock.backup import workspace
from drydock.cycles import no_search_for_cycles
from drydock.recovery.archive import laying_out
from drydock.recovery.archive.laying_out import DamagedSegmentError
from drydock.recovery.archive.proving import Prover
from drydock.recovery.history.index import Index, Run, stretches
from drydock.recovery.history.transactions import ALL, Assembler
from drydock.recovery.history.work import read_work
from drydock.recovery.wal import waldump
from drydock.recovery.wal.positions import SEGMENT_SIZE, Descent, Stretch, format_lsn
from drydock.recovery.wal.records import Records

if TYPE_CHECKING:
    from drydock.backup.encryption import Sealing
    from drydock.engine import Engine
    from drydock.recovery.archive.folders import Archive, Stored
    from drydock.recovery.archive.proving import Laid

FOLDER, LOCK = ".indexing", ".history.lock"
BATCH = 8  # segments that are read at a time; as many again lie unpacked beside them
WRITE_AFTER = 10_000  # transactions held in memory
UNREAD = "something in it is damaged or missing"


@dataclass
class Refreshed:
    """What an indexing met.

    Attributes:
        bytes: of WAL that it read.
        problems: WAL that cannot be read, as sentences; the index has a gap there.
    """

    bytes: int = 0
    problems: list[str] = field(default_factory=list)


def refresh(engine: Engine, archive: Archive, sealing: Sealing) -> Refreshed:
    """Index what is new in the archive, the segment being received included. What another run indexes is waited for.

    A kill at any moment leaves an index of what was read by then.

    Raises:
        DrydockError: where pg_waldump cannot be run, or a packed segment cannot be decrypted.
    """
    done = Refreshed()
    if not archive.folder.is_dir():
        return done
    lock = archive.folder / LOCK
    lock.touch(mode=0o600)
    with workspace.held(lock, wait=True), no_search_for_cycles(), Index(archive.history) as index:
        known = laying_out.descents(archive, sealing)
        with (
            workspace.working_in(archive.folder / FOLDER) as folder,
            Prover(engine, archive, sealing, folder) as prover,
        ):
            found = laying_out.pieces(archive)
            # A timeline without a history file is the first, or one whose past is not in the archive.
            known = {timeline: Descent((Stretch(timeline, 0, None),)) for timeline in found} | known
            index.remember(known)
            for timeline, pieces in sorted(found.items()):
                for piece in pieces:
                    _Timeline(prover, index, known[timeline], done).read(piece)
    return done


@dataclass
class _Timeline:
    """The indexing of one timeline."""

    prover: Prover
    index: Index
    descent: Descent
    done: Refreshed
    reasons: dict[int, str] = field(default_factory=dict)  # why the WAL cannot be read, by position

    def read(self, piece: list[Stored]) -> None:
        """Read what is new in segments that follow one another, around files that cannot be unpacked."""
        left = [piece]
        while left:
            here = left.pop()
            try:
                self._read_on(here)
            except DamagedSegmentError as error:
                at = error.segment.number - here[0].segment.number
                left += [part for part in (here[at + 1 :], here[:at]) if part]
                self.reasons[error.segment.start] = error.message
        self._tell(piece)

    def _read_on(self, piece: list[Stored]) -> None:
        run, count = self._resume(piece), BATCH
        while run.reached < piece[-1].segment.end:
            first = run.reached // SEGMENT_SIZE - piece[0].segment.number
            batch = piece[first : first + count]
            # The last record of a batch may go on in the next one, which therefore begins with the same segment.
            following = piece[first + count - 1 : first + 2 * count - 1] if len(piece) > first + count else []
            laid = self.prover.prove(batch, run.reached, following)
            before, (run, problem) = run.reached, self._read(run, batch[-1].segment.end, laid)
            self.done.bytes += run.reached - before
            if problem and _position(problem, run) // SEGMENT_SIZE < piece[-1].segment.number - 1:
                run = self._after_damage(run, problem)
            elif batch[-1] is piece[-1]:
                return
            elif run.reached == before:
                count *= 2  # one record is longer than the batch

    def _resume(self, piece: list[Stored]) -> Run:
        """The run that ended in these segments or went on behind them, or a new one from the first of them on."""
        timeline, start, end = piece[0].segment.timeline, piece[0].segment.start, piece[-1].segment.end
        for run in reversed(self.index.runs(timeline)):
            if start <= run.reached and run.begin < end:
                return run
        forked = self.descent.stretches[-1].begin
        return self.index.begin(timeline, max(start, forked) if forked < end else start)

    def _read(self, run: Run, end: int, laid: Laid) -> tuple[Run, str]:
        last = waldump.last_valid(laid.problem)
        if laid.problem and last is None:
            return run, laid.problem
        records = Records(laid.folder, run.timeline, run.reached, end, last)
        assembler, ended = self._assembler(run), []
        for stretch in records.stretches():
            ended += assembler.feed(stretch)
            if len(ended) > WRITE_AFTER:
                run, ended = self.index.add(run, ended, assembler, records.reach), []
        return self.index.add(run, ended, assembler, records.reach), laid.problem

    def _assembler(self, run: Run) -> Assembler:
        """As it was left; where a timeline forks off, nothing goes on but what was prepared."""
        if run.carry:
            return Assembler.load(run.carry)
        forked = run.begin == self.descent.stretches[-1].begin and len(self.descent.stretches) > 1
        assembler = Assembler(whole_from=ALL if forked else None)
        assembler.aside = self._aside(run.begin)
        if forked:
            waiting = self.index.prepared(self.descent, run.begin)
            assembler.prepared = {int(xid): read_work(json.loads(work)) for xid, work in waiting.items()}
        return assembler

    def _aside(self, position: int) -> set[str]:
        """The databases that were drydock's alone at a position: those of which it is proven that nothing ended it."""
        query = (
            "SELECT lsn, kind, file FROM events"
            " WHERE timeline = ? AND lsn >= ? AND lsn < ? AND kind IN ('aside', 'open') ORDER BY lsn"
        )
        found = set[str]()
        for piece in stretches(self.descent, 0, position):
            for lsn, kind, database in self.index.rows(query, piece):
                found.discard(database)
                if kind == "aside" and self.index.covered(self.descent, lsn, position):
                    found.add(database)
        return found

    def _after_damage(self, run: Run, problem: str) -> Run:
        """Go on behind a segment that cannot be read."""
        position = _position(problem, run)
        number, self.reasons[position] = position // SEGMENT_SIZE + 1, problem
        known = [r for r in self.index.runs(run.timeline) if r.begin >= number * SEGMENT_SIZE]
        return known[0] if known else self.index.begin(run.timeline, number * SEGMENT_SIZE)

    def _tell(self, piece: list[Stored]) -> None:
        """Say where the index has a gap, be it that an earlier run of the indexing met what is damaged."""
        start, end = piece[0].segment.start, piece[-1].segment.end
        runs = [run for run in self.index.runs(piece[0].segment.timeline) if start <= run.reached and run.begin < end]
        for run, behind in pairwise(runs):
            if run.end < behind.begin:
                met = [at for at in sorted(self.reasons) if run.reached <= at < behind.begin]
                why = "; ".join(self.reasons.pop(at).rstrip(".") for at in met) or UNREAD
                self._problem(run, f"from {format_lsn(run.reached)} to {format_lsn(behind.begin)}: {why}")
        for at in sorted(self.reasons):  # nothing was read behind it
            self._problem(runs[-1], f"from {format_lsn(at)} on: {self.reasons.pop(at).rstrip('.')}")

    def _problem(self, run: Run, what: str) -> None:
        self.done.problems.append(f"The WAL of timeline {run.timeline} cannot be read {what}.")


def _position(problem: str, run: Run) -> int:
    """The last record before an error, where pg_waldump names one; else where the reading began."""
    return max(run.reached, waldump.last_valid(problem) or 0)
