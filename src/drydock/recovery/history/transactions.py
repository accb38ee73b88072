"""Transactions put together from the records of the WAL, in whatever pieces they come.

Rows are counted per file (tablespace/database/file number), for the WAL knows no tables. Nothing here depends on where
one piece ends and the next begins.
"""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from drydock.recovery.history import row_counts
from drydock.recovery.history.row_counts import DELETED, INSERTED, UPDATED
from drydock.recovery.wal import record_bodies as bodies
from drydock.recovery.wal import records as kinds
from drydock.recovery.wal.waldump import record_end

if TYPE_CHECKING:
    from drydock.recovery.wal.records import Stretch

State = Literal["committed", "aborted", "prepared"]
Rows = dict[bytes, int]  # by file, as `row_counts.pack` has them

PREFIX = b"drydock"  # of logical messages that say who a transaction is
WHO_LIMIT = 200  # characters
FIRST_NORMAL = 16384  # FirstNormalObjectId: files below are initdb's, of catalogues
RENAMING = {1259: 1, 2615: 2}  # files of pg_class and pg_namespace; see Work.renaming
LARGE_OBJECTS = 2613
DATABASES = 1262
# Catalogues that no change of a schema writes alone: statistics of ANALYZE with their toast, large objects' owners; and
# of those that all databases share the databases themselves with their settings, owners, rights and comments.
_NOT_DDL = frozenset({2619, 2840, 3429, 3430, 2995, DATABASES, 2964, 1214, 2396})
ALL = -1  # as `Assembler.whole_from`: nothing can have begun before
# What a record adds by its kind; 0: it says so itself (`_rows`).
_ONE_EACH = {
    kinds.INSERT: INSERTED,
    kinds.UPDATE: UPDATED,
    kinds.HOT_UPDATE: UPDATED,
    kinds.DELETE: 0,
    kinds.MULTI_INSERT: 0,
}
HALF = 1 << 31  # xids are compared modulo 2^32 (TransactionIdPrecedes)
STATES: dict[int, State] = {
    kinds.COMMIT: "committed",
    kinds.COMMIT_PREPARED: "committed",
    kinds.ABORT: "aborted",
    kinds.ABORT_PREPARED: "aborted",
    kinds.PREPARE: "prepared",
}


@dataclass(slots=True)
class Work:
    """What is known of a transaction that has not ended.

    Attributes:
        rows: inserted, updated and deleted rows by file, packed.
        size: bytes of its records, without those of indexes.
        ddl: whether it changed catalogues or files, of what was there before: a new database is a copy.
        renaming: whether it may have given relations another name: those it invalidates (1), or any (2).
        who: what it said of itself.
        created: files made, and where.
        database: the one in which it locked a relation exclusively.
        copying: whether it makes a database, which is nothing else's transaction.
    """

    rows: Rows = field(default_factory=dict)
    size: int = 0
    ddl: bool = False
    renaming: int = 0
    who: str = ""
    created: list[tuple[int, str]] = field(default_factory=list)
    database: str = ""
    copying: bool = False

    def document(self) -> dict[str, Any]:
        """It as JSON has it."""
        return {**asdict(self), "rows": {file.decode(): row_counts.unpack(rows) for file, rows in self.rows.items()}}

    def changes_catalogue(self, number: int, operation: int) -> None:
        """Take note of a changed row of a catalogue, by the number of its file."""
        self.ddl |= number not in _NOT_DDL
        self.copying |= number == DATABASES and operation == kinds.INSERT
        # A new name is in an index, and so the row's update cannot be a hot one (src/backend/access/heap/README.HOT).
        if operation == kinds.UPDATE:
            self.renaming = max(self.renaming, RENAMING.get(number, 0))

    def merge(self, other: Work) -> None:
        """Add what a committed subtransaction did."""
        for file, rows in other.rows.items():
            self.rows[file] = self.rows.get(file, 0) + rows
        self.size += other.size
        self.ddl |= other.ddl
        self.renaming = max(self.renaming, other.renaming)
        self.who = self.who or other.who
        self.created += other.created
        self.database = self.database or other.database


@dataclass(slots=True)  # not frozen: there are millions, and that would take three times as long to make
class Ended:
    """A transaction that ended, with the position of the record that says so.

    Attributes:
        microseconds: since 1970 (UTC), by the server's clock.
        whole: False where it may have begun before the WAL that was read.
        dropped: files that its end removes.
        renamed: relations that may have another name since; 0: any.
    """

    lsn: int
    end: int
    xid: int
    microseconds: int
    state: State
    work: Work
    subxids: tuple[int, ...] = ()
    whole: bool = True
    dropped: tuple[str, ...] = ()
    renamed: tuple[int, ...] = ()


class Assembler:
    """Takes records, gives transactions; what is still going on can be written down and taken up again.

    Attributes:
        going_on: by xid.
        prepared: the same for two-phase transactions that wait.
        next_xid: the 64-bit number of the next transaction, as the last checkpoint had it; 0: not seen yet.
        whole_from: transactions from this xid on began in the WAL that was read; None: not known yet;
            ALL: all of them did.
        spaces: tablespaces made: position, transaction and folder. Whoever replays the record makes one at once,
            whatever becomes of the transaction. They are not dumped: whoever writes down the rest takes them.
    """

    def __init__(self, *, whole_from: int | None = None) -> None:
        self.going_on: dict[int, Work] = {}
        self.prepared: dict[int, Work] = {}
        self.next_xid = 0
        self.whole_from = whole_from
        self.spaces: list[tuple[int, int, str]] = []

    def feed(self, stretch: Stretch) -> list[Ended]:
        """The transactions that end in these records, in the order of their ends."""
        ended, data, works, last = [], stretch.data, self.going_on, -1
        rows, commit, one_each = kinds.ROWS, kinds.COMMIT, _ONE_EACH
        for kind, xid, length, place in stretch.records:
            if kind <= rows:
                if xid != last:
                    work, last = works.get(xid) or self._work(xid), xid
                work.size += length
                # The file of the first block, where no image of it comes before.
                plain = not data[place + 25] & bodies.HAS_IMAGE
                table, number = _table(data[place + 28 : place + 40] if plain else bodies.block_file(data, place))
                if number:
                    work.changes_catalogue(number, kind)
                    continue
                counts = work.rows
                counts[table] = counts.get(table, 0) + (one_each[kind] or _rows(kind, data, place))
            else:
                # It may end a transaction, or forget some.
                last = -1
                if kind == commit and (time := bodies.only_time(data, place)) is not None:
                    ended.append(self._committed(xid, length, stretch.position(place), time))
                elif one := self._take(kind, xid, length, place, stretch):
                    ended.append(one)
        return ended

    def take_spaces(self) -> list[tuple[int, int, str]]:
        """The tablespaces made since the last time."""
        taken, self.spaces = self.spaces, []
        return taken

    def dump(self) -> str:
        """What is to be known when the records go on, as JSON."""
        return json.dumps(
            {
                "going_on": {xid: work.document() for xid, work in self.going_on.items()},
                "prepared": {xid: work.document() for xid, work in self.prepared.items()},
                "next_xid": self.next_xid,
                "whole_from": self.whole_from,
            }
        )

    @classmethod
    def load(cls, text: str) -> Assembler:
        """The one that `dump` wrote down."""
        raw = json.loads(text)
        made = cls(whole_from=raw["whole_from"])
        made.next_xid = raw["next_xid"]
        made.going_on = {int(xid): read_work(work) for xid, work in raw["going_on"].items()}
        made.prepared = {int(xid): read_work(work) for xid, work in raw["prepared"].items()}
        return made

    def _work(self, xid: int) -> Work:
        if xid not in self.going_on:
            self.going_on[xid] = Work()
        return self.going_on[xid]

    def _take(self, kind: int, xid: int, length: int, place: int, stretch: Stretch) -> Ended | None:
        if kind == kinds.SWITCHED:
            return None
        data = stretch.data
        if kind in STATES:
            return self._end(STATES[kind], xid, length, stretch.position(place), bodies.end(kind, data, place))
        at = bodies.body(data, place)
        if kind == kinds.CREATE:
            work = self._work(xid)
            work.ddl |= not work.copying
            work.created.append((stretch.position(place), bodies.created(data, at)))
        elif kind == kinds.SPACE_MADE:
            self.spaces.append((stretch.position(place), xid, bodies.location(data, at)))
        elif kind == kinds.LOCK:
            self._locked(bodies.locks(data, at))
        elif kind == kinds.RUNNING:
            self._running(*bodies.running(data, at))
        elif kind == kinds.CHECKPOINT:
            self.next_xid = bodies.next_xid(data, at)
        elif (said := bodies.message(data, at)) and said[0] == PREFIX:
            work = self._work(xid)
            work.who = work.who or said[1].decode(errors="replace")[:WHO_LIMIT]
        return None

    def _locked(self, locks: list[tuple[int, int, int]]) -> None:
        for xid, database, relation in locks:
            work = self._work(xid)
            work.database = str(database)
            if relation in RENAMING:
                work.renaming = 2

    def _running(self, following: int, oldest: int) -> None:
        """Forget what a crash ended: no record says so, but nothing older than the oldest one goes on."""
        if self.whole_from is None:
            self.whole_from = following
        for xid in [xid for xid in self.going_on if precedes(xid, oldest)]:
            del self.going_on[xid]

    def _committed(self, xid: int, length: int, lsn: int, microseconds: int) -> Ended:
        """What `_end` gives for a commit that says no more than when: nearly all of them, in half the time."""
        work = self.going_on.pop(xid, None) or Work()
        work.size += length
        made = Ended(lsn, record_end(lsn, length), xid, microseconds, "committed", work, (), self._whole(xid))
        if work.renaming:
            made.renamed = _renamed(work, ())
        return made

    def _end(self, state: State, xid: int, length: int, lsn: int, end: bodies.End) -> Ended:
        if end.xid is None:
            work = self.going_on.pop(xid, None) or Work()
            for sub in end.subxids:
                if part := self.going_on.pop(sub, None):
                    work.merge(part)
        else:
            xid, work = end.xid, self.prepared.pop(end.xid, Work())
        if state == "prepared":
            self.prepared[xid] = deepcopy(work)
        work.size += length
        return Ended(
            lsn=lsn,
            end=record_end(lsn, length),
            xid=xid,
            microseconds=end.microseconds,
            state=state,
            work=work,
            subxids=end.subxids,
            whole=self._whole(xid),
            dropped=end.dropped if state != "prepared" else (),
            renamed=_renamed(work, end.relations) if work.renaming and state == "committed" else (),
        )

    def _whole(self, xid: int) -> bool:
        since = self.whole_from
        return since is not None and (since == ALL or not precedes(xid, since))


def precedes(xid: int, other: int) -> bool:
    """True where a 32-bit xid is older than another."""
    return 0 < (other - xid) % (1 << 32) < HALF


def full_xid(xid: int, next_xid: int) -> int | None:
    """The 64-bit number of a transaction, proven by a checkpoint's next one; None where there was none."""
    if not next_xid:
        return None
    distance = (next_xid - xid) % (1 << 32)
    return next_xid - (distance if distance < HALF else distance - (1 << 32))


def read_work(raw: dict[str, Any]) -> Work:
    """What `Work.document` wrote down."""
    rows = {file.encode(): row_counts.pack(*counts) for file, counts in raw.pop("rows").items()}
    created = [(lsn, file) for lsn, file in raw.pop("created")]
    return Work(**raw, rows=rows, created=created)


@cache
def _table(file: bytes) -> tuple[bytes, int]:
    """A file as text, and its number where it is a catalogue's; large objects are somebody's data."""
    number = bodies.FILE.unpack(file)[2]
    return bodies.text(file), number if number < FIRST_NORMAL and number != LARGE_OBJECTS else 0


def _rows(kind: int, data: bytes, place: int) -> int:
    """Changes that do not all count alike."""
    at = bodies.body(data, place)
    if kind == kinds.MULTI_INSERT:
        return bodies.tuples(data, at) * INSERTED
    return -INSERTED if bodies.takes_back(data, at) else DELETED


def _renamed(work: Work, invalidated: tuple[int, ...]) -> tuple[int, ...]:
    """Relations whose name may be another one since."""
    return invalidated if invalidated and work.renaming == 1 else (0,)
