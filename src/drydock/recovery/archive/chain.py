"""The WAL of a cluster across all parts of its archive: the best copy of each segment, lines of descent, and holes.

A segment may be there several times: sealed and plain after a kill, and in two parts where one life of the cluster
began in the middle of another's segment. Copies of one segment must agree; the shorter ones of those that were still
being received must be the beginning of the longer ones. Where they do not, two clusters have written here, and nothing
is restored from it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from drydock.errors import DrydockError, RefusedError
from drydock.recovery.archive.folders import PARTIAL, Form, Stored, part_order
from drydock.recovery.wal.positions import (
    SEGMENT_SIZE,
    Descent,
    Segment,
    Stretch,
    format_lsn,
    history_name,
    parse_history,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class MissingError(RefusedError):
    """A piece of WAL is not in the archive."""

    def __init__(self, segment: Segment, why: str) -> None:
        where = f"{format_lsn(segment.start)} to {format_lsn(segment.end)} of timeline {segment.timeline}"
        super().__init__(
            f"The WAL segment {segment.name} ({where}) {why}.", hint="invoke archive.verify shows every hole."
        )
        self.segment = segment


class Contents(Protocol):
    """What is in the files of the archive."""

    def read(self, stored: Stored) -> bytes:
        """The content of a segment, unpacked."""
        ...


class Chain:
    """All WAL there is of one cluster.

    Args:
        copies: every segment's file in every part.
        histories: the texts of the history files by timeline, all copies of each.
        contents: reads a file; asked only where a segment is there more than once.
    """

    def __init__(self, copies: Iterable[Stored], histories: Mapping[int, Iterable[str]], contents: Contents) -> None:
        self._copies: dict[Segment, list[Stored]] = {}
        for copy in copies:
            self._copies.setdefault(copy.segment, []).append(copy)
        self._histories = {timeline: sorted(set(texts)) for timeline, texts in histories.items()}
        self._contents = contents
        self._best: dict[Segment, Stored] = {}

    def timelines(self) -> list[int]:
        """Those that something is known of."""
        return sorted({segment.timeline for segment in self._copies} | set(self._histories))

    def parts_with(self, timeline: int) -> set[str]:
        """The parts of the archive that have WAL of a timeline."""
        return {
            copy.part for segment, copies in self._copies.items() if segment.timeline == timeline for copy in copies
        }

    def descent(self, timeline: int) -> Descent:
        """The line that leads to a timeline.

        Raises:
            RefusedError: where there is no such timeline, its history is not there, or there are two that differ.
        """
        texts = self._histories.get(timeline, [])
        if len(texts) > 1:
            raise _two_histories(timeline)
        if timeline != 1 and timeline not in (known := self.timelines()):
            raise RefusedError(
                f"There is no timeline {timeline} in the archive: there are {', '.join(map(str, known)) or 'none'}.",
                hint="invoke history shows them.",
            )
        if not texts and timeline != 1:
            raise RefusedError(
                f"Nothing tells where timeline {timeline} came from: {history_name(timeline)} is missing.",
                hint="invoke archive.verify shows what is missing.",
            )
        descent = parse_history(timeline, texts[0]) if texts else Descent((Stretch(1, 0, None),))
        for stretch in descent.stretches[:-1]:
            self._agree(descent, stretch.timeline)
        return descent

    def last_segment(self, timeline: int) -> Segment | None:
        """The one of a timeline that is farthest on."""
        return max((segment for segment in self._copies if segment.timeline == timeline), default=None)

    def best(self, segment: Segment) -> Stored | None:
        """The copy of a segment to use: a whole one rather than a partial one, and a hashed one if there is any.

        Raises:
            RefusedError: where copies contradict each other.
        """
        copies = self._copies.get(segment)
        if copies and segment not in self._best:
            self._best[segment] = copies[0] if len(copies) == 1 else self._choose(copies)
        return self._best.get(segment)

    def contiguous(self, descent: Descent, start: int, end: int) -> tuple[Stored, ...]:
        """The files that hold all WAL of a line of descent from one position to another.

        Only the last may be partial: that its records reach `end` is for those to say who have read them.

        Raises:
            MissingError: where one is missing, or a partial one is needed whole.
            RefusedError: where copies contradict each other.
        """
        return tuple(self._needed(segment, end) for segment in descent.segments(start, end))

    def extent(self, descent: Descent, start: int, last: int) -> int:
        """How far the WAL of a line of descent reaches from a position on, without a hole.

        Args:
            descent: the line.
            start: the position.
            last: the end of the last record that can be read. A partial segment counts only where that is in it.
        """
        number = start // SEGMENT_SIZE
        while self._whole(here := Segment(descent.timeline_at((number + 1) * SEGMENT_SIZE - 1), number)):
            number += 1
        reached = self._begun(descent, here) if here.start <= last <= here.end else here.start
        return max(start, min(reached, last))

    def _begun(self, descent: Descent, segment: Segment) -> int:
        """How far a segment is there that is not there whole; a timeline may begin in it, and be missing itself."""
        if segment in self._copies:
            return segment.end
        begins = max((s.begin for s in descent.stretches if s.begin < segment.end), default=0)
        before = Segment(descent.timeline_at(segment.start), segment.number)
        return max(begins, segment.start) if before in self._copies else segment.start

    def _needed(self, segment: Segment, end: int) -> Stored:
        stored = self.best(segment)
        if stored is None:
            raise MissingError(segment, "is missing")
        if is_partial(stored) and segment.end < end:
            raise MissingError(segment, f"is there only in part, as {stored.part}/{stored.path.name}")
        return stored

    def _whole(self, segment: Segment) -> bool:
        return any(not is_partial(copy) for copy in self._copies.get(segment, []))

    def _agree(self, descent: Descent, before: int) -> None:
        """What a timeline's history says of an older one must be what that one's own says."""
        for text in self._histories.get(before, []):
            own = parse_history(before, text).stretches[:-1]
            if descent.stretches[: len(own)] != own:
                raise _two_histories(before)

    def _choose(self, copies: list[Stored]) -> Stored:
        content = {copy: self._contents.read(copy) for copy in copies}
        best = max(copies, key=lambda copy: (_rank(copy, content[copy]), part_order(copy.part)))
        for copy in copies:
            if not _agrees(copy, content[copy], content[best]):
                raise RefusedError(
                    f"{copy.part}/{copy.path.name} and {best.part}/{best.path.name} are the same piece of WAL, "
                    "and their contents differ: nothing is restored from either.",
                    hint="invoke archive.verify",
                )
        return best


def is_partial(stored: Stored) -> bool:
    """True where the file is not all of the segment, packed or not."""
    return PARTIAL in stored.path.name


def _rank(copy: Stored, content: bytes) -> tuple[bool, int, bool]:
    whole = not is_partial(copy)
    return whole, 0 if whole else len(content.rstrip(b"\0")), copy.form is Form.SEALED


def _agrees(copy: Stored, content: bytes, best: bytes) -> bool:
    return best.startswith(content.rstrip(b"\0")) if is_partial(copy) else content == best


def _two_histories(timeline: int) -> DrydockError:
    return RefusedError(
        f"The archive has two different histories of timeline {timeline}: nothing is restored from it.",
        hint="invoke archive.verify",
    )
