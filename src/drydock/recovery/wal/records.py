"""The records of the WAL, read from its pages as they lie on disk; those that the history does not need are skipped.

The form is PostgreSQL 16's, in this machine's byte order: src/include/access/xlogrecord.h and xlog_internal.h. Nothing
here proves that the WAL is sound: pg_waldump does, before (`waldump.unreadable`), and tells how far.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from drydock.errors import DrydockError
from drydock.recovery.wal.positions import SEGMENT_SIZE, format_lsn, segment_at
from drydock.recovery.wal.waldump import LONG_HEADER, PAGE, SHORT_HEADER, Reach, last_valid, record_end, unreadable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from drydock.engine import Engine

PIECE = 1 << 20  # bytes read at a time; a segment holds a whole number of them
HEADER, INFO = 24, 16  # SizeOfXLogRecord; where in it `info` is
OVERWRITE = 0x0008  # XLP_FIRST_IS_OVERWRITE_CONTRECORD: what the page before began was never finished
_PAGE = struct.Struct("=HHIQI")  # magic, info, timeline, address, rest of the record that goes on here
_RECORD = struct.Struct("=II8xH")  # length, transaction, (previous record,) info and resource manager; then checksum
_PREVIOUS = struct.Struct("=Q")
_LENGTH = struct.Struct("=I")

# Resource managers (rmgrlist.h), with the upper half of what `info` may be.
XLOG, TRANSACTION, STORAGE, DATABASE, TABLESPACE, STANDBY, HEAP2, HEAP, MESSAGE = 0, 1, 2, 4, 5, 8, 9, 10, 21
INITIAL = 0x80  # XLOG_HEAP_INIT_PAGE, XLOG_XACT_HAS_INFO: says more of the same operation
SWITCH = (XLOG, 0x40)
(
    INSERT,  # rows, up to MULTI_INSERT
    UPDATE,
    HOT_UPDATE,
    DELETE,
    MULTI_INSERT,
    COMMIT,
    PREPARE,
    ABORT,
    COMMIT_PREPARED,
    ABORT_PREPARED,
    CREATE,
    LOCK,
    RUNNING,
    CHECKPOINT,
    SAID,
    SWITCHED,
    SPACE_MADE,
    SPACE_DROPPED,
    DATABASE_DROPPED,
    IN_PLACE,
) = range(1, 21)
_KINDS = {
    (HEAP, 0x00): INSERT,
    (HEAP, 0x10): DELETE,
    (HEAP, 0x20): UPDATE,
    (HEAP, 0x40): HOT_UPDATE,
    (HEAP2, 0x50): MULTI_INSERT,
    (TRANSACTION, 0x00): COMMIT,
    (TRANSACTION, 0x10): PREPARE,
    (TRANSACTION, 0x20): ABORT,
    (TRANSACTION, 0x30): COMMIT_PREPARED,
    (TRANSACTION, 0x40): ABORT_PREPARED,
    (STORAGE, 0x10): CREATE,
    (STANDBY, 0x00): LOCK,
    (STANDBY, 0x10): RUNNING,
    (XLOG, 0x00): CHECKPOINT,
    (XLOG, 0x10): CHECKPOINT,
    SWITCH: SWITCHED,
    (MESSAGE, 0x00): SAID,
    (TABLESPACE, 0x00): SPACE_MADE,
    (TABLESPACE, 0x10): SPACE_DROPPED,
    (DATABASE, 0x20): DATABASE_DROPPED,
    (HEAP, 0x70): IN_PLACE,
}
ROWS = MULTI_INSERT  # kinds up to this one are changes of rows


def _table() -> bytes:
    """The kind for each value of the two bytes `info` and resource manager; 0: not needed."""
    table = bytearray(1 << 16)
    for (manager, operation), kind in _KINDS.items():
        more = (0, INITIAL) if manager in {HEAP, HEAP2, TRANSACTION} else (0,)
        for info in (operation | flag | low for flag in more for low in range(16)):
            table[struct.unpack("=H", bytes((info, manager)))[0]] = kind
    return bytes(table)


KINDS = _table()


@dataclass(slots=True)
class Stretch:
    """Pages that follow one another within a segment, without their headers, and what is needed of their records.

    Attributes:
        page: position of the first of these pages.
        data: what is in them, after the beginning of a record on the pages before.
        carried: bytes of that beginning; `start` is where it lies.
        records: kind, transaction, length, and place in `data`.
    """

    page: int
    data: bytes
    start: int = 0
    carried: int = 0
    records: list[tuple[int, int, int, int]] = field(default_factory=list)

    def position(self, place: int) -> int:
        """Where in the WAL a record begins that is at a place of `data`."""
        if place < self.carried:
            return self.start
        place -= self.carried
        header = _header(self.page)
        if place < PAGE - header:
            return self.page + header + place
        pages, rest = divmod(place - (PAGE - header), PAGE - SHORT_HEADER)
        return self.page + (pages + 1) * PAGE + SHORT_HEADER + rest

    def place(self, position: int) -> int:
        """The other way round."""
        if position < self.page:
            return 0 if self.carried and position >= self.start else -1
        header = _header(self.page)
        pages, rest = divmod(position - self.page, PAGE)
        before = PAGE - header + (pages - 1) * (PAGE - SHORT_HEADER) - SHORT_HEADER if pages else -header
        return self.carried + before + rest


def end_of_wal(engine: Engine, folder: Path, timeline: int, start: int, end: int) -> Reach:
    """The last valid record at or after the position `start`, and before `end`, whatever its kind.

    Raises:
        DrydockError: where pg_waldump cannot tell, or records do not follow one another.
    """
    problem = unreadable(engine, folder, timeline, start, end)
    last = last_valid(problem)
    records = Records(folder, timeline, start, end, last)
    if last is not None or not problem:
        for _stretch in records.stretches():
            pass
    return replace(records.reach, problem=problem)


class Records:
    """One reading of segments that lie in a folder under their bare names.

    Args:
        folder: where they are.
        timeline: whose.
        start: position from which on records are wanted.
        end: where to stop, the end of a segment. A record that goes on behind it is left out.
        last: the last record that is valid; None: all are.

    Attributes:
        reach: how far it has read, whole stretches.
    """

    def __init__(self, folder: Path, timeline: int, start: int, end: int, last: int | None = None) -> None:
        self.reach = Reach(None, start)
        self._folder, self._timeline, self._start, self._end, self._last = folder, timeline, start, end, last
        self._next = start - start % PAGE  # page
        self._pending: list[bytes] | None = None  # the beginning of a record; None: look for the next one
        self._from = self._held = self._needed = 0  # where it lies, bytes of it, and bytes that it needs
        self._before: int | None = None  # the last record, be it before `start`
        self._switched = False  # the rest of the segment is empty

    def stretches(self) -> Iterator[Stretch]:
        """What is in them, in order.

        Raises:
            DrydockError: where records do not follow one another, or end before the last valid one.
        """
        while self._next < self._end and not self._finished():
            segment = segment_at(self._timeline, self._next)
            with (self._folder / segment.name).open("rb") as stream:
                while self._next < segment.end and not self._finished():
                    stream.seek(self._next - segment.start)
                    content = stream.read(PIECE - self._next % PIECE)
                    page, self._next = self._next, self._next + len(content)
                    if not content:
                        raise self._broken(page)
                    yield from self._split(page, content)
        if self._last is not None and self._before is not None and self._before != self._last:
            raise self._broken(self._before)

    def _finished(self) -> bool:
        return self._last is not None and self._before is not None and self._before >= self._last

    def _split(self, page: int, content: bytes) -> Iterator[Stretch]:
        """At pages before which a record was given up."""
        begin = 0
        for at in range(0, len(content), PAGE):
            if _PAGE.unpack_from(content, at)[1] & OVERWRITE:
                if at > begin and (stretch := self._read(page + begin, content[begin:at])):
                    yield stretch
                if self._finished() or self._switched:
                    break
                self._pending, begin = None, at
        else:
            if stretch := self._read(page + begin, content[begin:]):
                yield stretch
        if self._switched:
            self._switched, self._pending = False, None
            self._next = _segment_end(page)

    def _read(self, page: int, content: bytes) -> Stretch | None:
        place = 0
        if self._pending is None:
            # The rest of a record that nobody has begun to read, on as many pages as it takes.
            while content and (place := _aligned(_PAGE.unpack_from(content)[4])) >= PAGE - _header(page):
                page, content = page + PAGE, content[PAGE:]
            if not content:
                return None
            stretch = Stretch(page, _bare(page, content))
        else:
            self._pending.append(_bare(page, content))
            self._held += len(self._pending[-1])
            if self._held < self._needed:
                return None
            stretch = Stretch(page, b"".join(self._pending), self._from, self._held - len(self._pending[-1]))
        left = self._walk(stretch, place)
        if stretch.position(place) < self._start:
            stretch.records = [one for one in stretch.records if stretch.position(one[3]) >= self._start]
        self._from, self._pending = stretch.position(left), [stretch.data[left:]]
        self._held = len(self._pending[0])
        self._needed = _LENGTH.unpack_from(self._pending[0])[0] if self._held else 0
        return stretch

    def _walk(self, stretch: Stretch, place: int) -> int:
        """Note the records that are needed; returns the place where whole records end."""
        data, kinds, header, note = stretch.data, KINDS, _RECORD.unpack_from, stretch.records.append
        size = len(data)
        bound = size - HEADER if self._last is None else min(size - HEADER, stretch.place(self._last))
        earlier = latest = -1
        while place <= bound:
            length, xid, what = header(data, place)
            after = place + ((length + 7) & -8)
            if after > size:
                break
            if length < HEADER:
                raise self._broken(stretch.position(place))
            kind = kinds[what]
            if kind:
                note((kind, xid, length, place))
            earlier, latest, place = latest, place, after
            if kind == SWITCHED:
                self._switched = True
                break
        if latest >= 0:
            self._advance(stretch, earlier, latest)
        return place

    def _advance(self, stretch: Stretch, earlier: int, latest: int) -> None:
        """Take note of the last record. Whoever loses his way among them never finds it again: the last one tells."""
        position = stretch.position(latest)
        before = self._before if earlier < 0 else stretch.position(earlier)
        if before is not None and _PREVIOUS.unpack_from(stretch.data, latest + 8)[0] != before:
            raise self._broken(position)
        self._before = position
        if position >= self._start:
            length = _LENGTH.unpack_from(stretch.data, latest)[0]
            self.reach = Reach(position, _segment_end(position) if self._switched else record_end(position, length))

    def _broken(self, position: int) -> DrydockError:
        return DrydockError(
            f"The WAL of timeline {self._timeline} cannot be followed at {format_lsn(position)}.",
            hint="invoke archive.verify",
        )


def _header(page: int) -> int:
    return SHORT_HEADER if page % SEGMENT_SIZE else LONG_HEADER


def _segment_end(position: int) -> int:
    return (position // SEGMENT_SIZE + 1) * SEGMENT_SIZE


def _aligned(length: int) -> int:
    return (length + 7) & -8


def _bare(page: int, content: bytes) -> bytes:
    """Pages without their headers."""
    view, first = memoryview(content), _header(page)
    return b"".join(
        [view[first:PAGE], *[view[at + SHORT_HEADER : at + PAGE] for at in range(PAGE, len(content), PAGE)]]
    )
