"""Which base backups and which WAL stay: all it takes to go back to any moment of the window, within a disk budget.

Everything hangs on one base backup, the anchor: those before it go, those after it stay, and so does the WAL that can
be reached from one that stays. `plan_prune` is pure. What is newer is told by the order of the archive, not by a clock.
"""

from __future__ import annotations

import shutil
import sys
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from drydock.backup import workspace
from drydock.fault_points import Point, reached
from drydock.files import sync_folder
from drydock.recovery.archive.catalogue import Catalogue
from drydock.recovery.archive.folders import part_order
from drydock.recovery.bases import base
from drydock.recovery.wal.positions import SEGMENT_SIZE, parse_lsn

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from pathlib import Path

    from drydock.recovery.archive.folders import Archive, Part
    from drydock.recovery.bases.base import Base
    from drydock.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """What is to be known of a usable base backup.

    Attributes:
        name: its own.
        part: of the archive.
        number: of the first segment that it needs.
        stopped: when it was complete.
        size: bytes on disk.
        good: proven, or encrypted where nobody has the key to prove it.
    """

    name: str
    part: str
    number: int
    stopped: datetime
    size: int
    good: bool = True

    @property
    def order(self) -> tuple[tuple[int, int], int]:
        """Where it stands in the archive."""
        return part_order(self.part), self.number


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A file of a segment: in which part, its number, and bytes on disk."""

    part: str
    file: str
    number: int
    size: int


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """A part as far as it matters here: the part that its WAL goes on from, if any, and at which segment."""

    name: str
    number: int
    parent: str = ""


@dataclass(frozen=True, kw_only=True)
class Policy:
    """How long everything must stay, and how many bytes it may take; the last good chain stays whatever it takes."""

    window: timedelta
    disk: int


@dataclass(frozen=True)
class Pruning:
    """What goes, bytes of what stays, and from which segment on each part stays; of parts not named nothing does."""

    bases: list[str]
    segments: list[Piece]
    kept: int
    begins: dict[str, int]


def plan_prune(
    parts: Sequence[Stretch],
    bases: Sequence[Candidate],
    pieces: Sequence[Piece],
    *,
    policy: Policy,
    now: datetime,
    writing: str,
) -> Pruning:
    """What may go.

    The anchor is the newest good base backup that is older than the window, so that every moment of the window comes
    after one. Where that takes more than the disk budget it is a later one, but never one after the newest that reaches
    what is being written; where there is no good one, nothing goes. The window is counted back from the newest base
    backup, where a clock that ran ahead says later.

    Args:
        parts: all, in their order.
        bases: the usable ones.
        pieces: the files of all segments.
        policy: window and budget.
        now: the time.
        writing: the part that is being written: where no base backup reaches it yet it stays as it is, and so does
            every later one, which may be written by the time that something is removed.
    """
    ordered = sorted(bases, key=lambda one: one.order)
    good = [one for one in ordered if one.good]
    last = _newest_reaching(writing, parts, good) or (good[-1] if good else None)
    if last is None:
        kept = sum(piece.size for piece in pieces) + sum(one.size for one in ordered)
        return Pruning([], [], kept, {part.name: 0 for part in parts})
    good = [one for one in good if one.order <= last.order]
    begin = min(now, max(one.stopped for one in ordered)) - policy.window
    old = [one for one in good if one.stopped <= begin]
    # Nothing before the first good one can be relied on, but nothing says that it can go either.
    anchor = old[-1] if old else ordered[0]
    while True:
        plan = _from(anchor, parts, ordered, pieces, writing)
        later = [one for one in good if one.order > anchor.order]
        if plan.kept <= policy.disk or not later:
            return plan
        anchor = later[0]


def _newest_reaching(part: str, parts: Sequence[Stretch], bases: Sequence[Candidate]) -> Candidate | None:
    """The newest base backup from which a part can be reached to its end."""
    known = {one.name: one for one in parts}
    here, limit = known.get(part), sys.maxsize
    while here:
        found = [one for one in bases if one.part == here.name and one.number <= limit]
        if found:
            return found[-1]
        limit, here = here.number, known.get(here.parent)
    return None


def _from(
    anchor: Candidate, parts: Sequence[Stretch], bases: Sequence[Candidate], pieces: Sequence[Piece], writing: str
) -> Pruning:
    """What goes where everything hangs on `anchor`."""
    staying = [one for one in bases if one.order >= anchor.order]
    newest = {one.name: 0 for one in parts if part_order(one.name) >= part_order(writing)} if writing else {}
    first = newest | reachable(parts, staying)
    kept = [piece for piece in pieces if piece.part in first and piece.number >= first[piece.part]]
    return Pruning(
        [one.name for one in bases if one.order < anchor.order],
        [piece for piece in pieces if piece not in set(kept)],
        sum(one.size for one in staying) + sum(piece.size for piece in kept),
        first,
    )


def reachable(parts: Sequence[Stretch], bases: Sequence[Candidate]) -> dict[str, int]:
    """From which segment on a part's WAL can be reached from a base backup; parts that none reaches are left out."""
    found: dict[str, int] = {}
    for part in parts:
        own = min((one.number for one in bases if one.part == part.name), default=None)
        before = found.get(part.parent)
        if before is not None and before <= part.number:
            found[part.name] = 0
        elif own is not None:
            found[part.name] = own
    return found


def expire(settings: Settings, archive: Archive, *, writing: str, now: datetime) -> Pruning:
    """Remove what `plan_prune` says: base backups first, so that a kill leaves none without its WAL.

    Raises:
        DrydockError: where the description of a part is damaged or the catalogue cannot be used.
    """
    from drydock.recovery.history import relations  # with psycopg

    policy = Policy(window=timedelta(hours=settings.recovery_window), disk=settings.recovery_disk)
    with workspace.held(archive.folder, wait=True):
        parts = stretches(archive.parts())
        pieces = [piece for part in parts for piece in _pieces(archive, part.name)]
        bases = _candidates(settings, archive)
        plan = plan_prune(parts, bases, pieces, policy=policy, now=now, writing=writing)
        catalogue = Catalogue(archive)
        for name in plan.bases:
            catalogue.forget_base(name)
            _remove_base(archive, name)
        for part in parts:
            going = {piece.file for piece in plan.segments if piece.part == part.name}
            _forget(catalogue, part.name, going, plan.begins.get(part.name, sys.maxsize))
            _unlink(archive.folder / part.name, sorted(going))
        if staying := [one.number for one in bases if one.name not in plan.bases]:
            relations.prune(archive, min(staying) * SEGMENT_SIZE)
    return plan


def _forget(catalogue: Catalogue, part: str, going: set[str], begin: int) -> None:
    """Take what goes out of the catalogue; with it what nobody needs any more and is missing already."""
    old = {row.file for row in catalogue.rows(part) if row.number is not None and row.number < begin}
    if going | old:
        catalogue.forget(part, going | old)
        reached(Point.EXPIRE_FORGOTTEN)


def stretches(parts: Sequence[Part]) -> list[Stretch]:
    """Which part goes on from which: within an incarnation the one before, else where the incarnation was restored."""
    found = []
    for position, part in enumerate(parts):
        number, earlier = _start(part), parts[:position]
        same = [one for one in earlier if one.incarnation == part.incarnation]
        theirs = [
            one for one in earlier if one.incarnation == part.parent and parse_lsn(one.start) <= parse_lsn(part.start)
        ]
        before = same or theirs
        found.append(Stretch(name=part.name, number=number, parent=before[-1].name if before and not part.hole else ""))
    return found


def _start(part: Part) -> int:
    return parse_lsn(part.start) // SEGMENT_SIZE


def _candidates(settings: Settings, archive: Archive) -> list[Candidate]:
    return [
        candidate(one, good=one.proven or bool(one.manifest.recipients and not settings.identity))
        for one in base.bases(archive)
    ]


def candidate(one: Base, *, good: bool) -> Candidate:
    """A base backup as far as it matters here."""
    return Candidate(
        name=one.name,
        part=one.part,
        number=one.start // SEGMENT_SIZE,
        stopped=one.stopped,
        size=one.manifest.size,
        good=good,
    )


def _pieces(archive: Archive, part: str) -> list[Piece]:
    found = []
    for stored in archive.segments(part):
        with suppress(FileNotFoundError):  # finished just now, and so under another name
            size = stored.path.stat().st_size
            found.append(Piece(part=part, file=stored.path.name, number=stored.segment.number, size=size))
    return found


def _remove_base(archive: Archive, name: str) -> None:
    doomed = archive.bases / f"{workspace.REMOVING}{name}"
    (archive.bases / name).rename(doomed)
    sync_folder(archive.bases)
    shutil.rmtree(doomed)


def _unlink(folder: Path, files: Sequence[str]) -> None:
    for file in files:
        (folder / file).unlink(missing_ok=True)
        reached(Point.EXPIRE_REMOVED)
