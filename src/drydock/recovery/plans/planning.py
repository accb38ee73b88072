"""Looking at an archive before a restore is planned: its index brought up to date, and everything in it read."""

from __future__ import annotations

import io
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from drydock.backup import encryption, workspace
from drydock.errors import DrydockError, NotReadyError
from drydock.recovery.archive import laying_out, lives, marks, progress
from drydock.recovery.archive.chain import Chain, is_partial
from drydock.recovery.archive.folders import PACKED
from drydock.recovery.bases import base
from drydock.recovery.history import indexing, relations
from drydock.recovery.history.queries import History
from drydock.recovery.plans.situation import Ahead, Known, Situation
from drydock.recovery.wal import waldump
from drydock.recovery.wal.positions import SEGMENT_SIZE, Segment, parse_lsn

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from drydock.backup.encryption import Sealing
    from drydock.engine import Engine
    from drydock.environment import Environment
    from drydock.recovery.archive.folders import Archive, Stored
    from drydock.recovery.archive.marks import Mark
    from drydock.recovery.plans.moments import Clock
    from drydock.recovery.wal.positions import Descent

WORK = ".planning"
ATTEMPTS = 5


@contextmanager
def look(environment: Environment, archive: Archive, clock: Clock) -> Iterator[Situation]:
    """All that a restore from `archive` is planned from. No server need run; where this cluster's does, it is asked.

    Raises:
        DrydockError: where something of the archive is damaged that everything depends on, or cannot be decrypted.
    """
    sealing = encryption.sealing(environment.settings)
    received, ahead = _received(environment, archive, clock)
    copies = _copies(archive)
    chain = Chain(copies, _histories(archive, sealing), Files(sealing))
    indexing.refresh(environment.engine, archive, sealing)
    home = environment.settings.database
    with Read(archive, environment.engine, chain, sealing, home=home) as positions:
        yield Situation(
            chain=chain,
            bases=base.bases(archive),
            positions=positions,
            marks=_marks(archive),
            lives=lives.lives(archive),
            clock=clock,
            received=received,
            ahead=ahead,
        )


@dataclass(frozen=True)
class Files:
    """The contents of the archive's files."""

    sealing: Sealing

    def read(self, stored: Stored) -> bytes:
        """A segment, unpacked.

        Raises:
            DrydockError: where it is damaged or cannot be decrypted.
        """
        return _content(stored.path, self.sealing)


class Read(History):
    """What the index knows, and what it does not: where records begin that end no transaction."""

    def __init__(self, archive: Archive, engine: Engine, chain: Chain, sealing: Sealing, *, home: str = "") -> None:
        super().__init__(archive, home)
        self.engine, self.chain, self.sealing = engine, chain, sealing

    def record_from(self, descent: Descent, lsn: int) -> tuple[int, int] | None:
        """Start and end of the first record that begins at a position or later; None where no WAL leads there.

        Raises:
            DrydockError: where a segment is damaged or cannot be decrypted.
        """
        for stretch in descent.stretches:
            if stretch.end is not None and stretch.end <= lsn:
                continue
            found = self._record_from(stretch.timeline, max(lsn, stretch.begin))
            if found and (stretch.end is None or found[0] < stretch.end):
                return found
        return None

    def _record_from(self, timeline: int, lsn: int) -> tuple[int, int] | None:
        """Where a segment was left early, its rest is zeros, which pg_waldump takes for the end of all WAL."""
        segment = Segment(timeline, lsn // SEGMENT_SIZE)
        if not self.chain.best(segment):
            return None
        return self._record_within(timeline, lsn) or self._record_within(timeline, segment.end)

    def _record_within(self, timeline: int, lsn: int) -> tuple[int, int] | None:
        """A record may begin in the segment after, where one that lies across its beginning ends."""
        number = lsn // SEGMENT_SIZE
        batch = [stored for n in (number, number + 1) if (stored := self.chain.best(Segment(timeline, n)))]
        if not batch or batch[0].segment.number != number:
            return None
        with workspace.working_in(self.archive.folder / WORK) as folder:
            try:
                self._lay_out(batch, folder)
            except laying_out.DamagedSegmentError as error:
                if error.segment.number == number:
                    raise
                del batch[1:]
            return waldump.first_record(self.engine, folder, timeline, lsn, batch[-1].segment.end)

    def _lay_out(self, batch: Sequence[Stored], folder: Path) -> None:
        """Segments become finished and sealed, and so change their names, while somebody plans."""
        for _ in range(ATTEMPTS):
            there = {
                stored.segment: stored for name in {s.part for s in batch} for stored in self.archive.segments(name)
            }
            with suppress(FileNotFoundError):
                return laying_out.lay_out([there[stored.segment] for stored in batch], folder, self.sealing)
        raise DrydockError(f"{batch[0].segment.name} is not in the archive any more.", hint="invoke archive.verify")


def _received(environment: Environment, archive: Archive, clock: Clock) -> tuple[Known | None, Ahead | None]:
    """How far the running server's archiver has come: to where the server was when it was asked, or not that far."""
    state = environment.state
    if state.system_identifier != archive.system_identifier:
        return None, None
    if state.part:
        # For tables that nobody has asked about since they were made.
        relations.keep_if_possible(environment, archive)
    here = _present(environment, clock)
    if here is None:
        return None, None
    if state.part:
        with suppress(NotReadyError):
            progress.wait_for(environment, here.lsn)
            return here, None
    return None, Ahead(here.timeline, "invoke up" if environment.settings.archiving else "")


def _present(environment: Environment, clock: Clock) -> Known | None:
    """Where the server is; None where none answers."""
    from drydock import postgres

    query = "SELECT pg_walfile_name(lsn), lsn::text, clock_timestamp() FROM pg_current_wal_insert_lsn() AS lsn"
    try:
        with postgres.administer(environment) as connection:
            row: Any = connection.execute(query).fetchone()
    except NotReadyError:
        return None
    # Whose clock is ahead makes no difference: what was committed by now lies before this position.
    return Known(int(row[0][:8], 16), parse_lsn(row[1]), max(row[2], clock.now))


def _copies(archive: Archive) -> list[Stored]:
    """Every segment; one that a full disk cut short while it was received holds nothing."""
    found = [stored for part in archive.parts() for stored in archive.segments(part.name)]
    return [s for s in found if not is_partial(s) or PACKED in s.path.name or s.path.stat().st_size == SEGMENT_SIZE]


def _histories(archive: Archive, sealing: Sealing) -> dict[int, list[str]]:
    return laying_out.histories(archive, lambda path: _content(path, sealing).decode(errors="replace"))


def _content(path: Path, sealing: Sealing) -> bytes:
    if PACKED not in path.name:
        return path.read_bytes()
    content = io.BytesIO()
    laying_out.unpack(path, content, sealing)
    return content.getvalue()


def _marks(archive: Archive) -> Sequence[Mark]:
    """The marks; one whose file is damaged cannot be restored to, and keeps nobody from the others."""
    found = []
    for path in sorted(archive.marks.glob("[!.]*.json")):
        with suppress(DrydockError):
            found.append(marks.find(archive, path.stem))
    return sorted(found, key=lambda mark: (mark.made, mark.name))
