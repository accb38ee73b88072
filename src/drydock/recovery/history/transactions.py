"""Transactions put together from the records of the WAL, in whatever pieces they come.

Rows are counted per file (tablespace/database/file number), for the WAL knows no tables. Nothing here depends on where
one piece ends and the next begins.
"""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Literal

from drydock import postgres
from drydock.recovery.history.row_counts import DELETED, INSERTED, UPDATED
from drydock.recovery.history.work import DATABASES, LARGE_OBJECTS, RENAMING, SHARED, Work, database_of, read_work
from drydock.recovery.wal import record_bodies as bodies
from drydock.recovery.wal import records as kinds
from drydock.recovery.wal.waldump import record_end

if TYPE_CHECKING:
    from drydock.recovery.wal.records import Stretch

State = Literal["committed", "aborted", "prepared"]

PREFIX = b"drydock"  # of logical messages that say who a transaction is
# And of those that say of a database whether drydock alone works in it from their commit on; see `Work.handed`.
ASIDE = {postgres.ASIDE.encode(): True, postgres.HANDED_OVER.encode(): False}
WHO_LIMIT = 200  # characters
FIRST_NORMAL = 16384  # FirstNormalObjectId: files below are initdb's, of catalogues
ALL = -1  # as `Assembler.whole_from`: nothing can have begun before
# What a record adds by its kind; 0: it says so itself (`_rows`).
_ONE_EACH = {
    kinds.INSERT: INSERTED,
    kinds.UPDATE: UPDATED,
    kinds.HOT_UPDATE: UPDATED,
    kinds.DELETE: 0,
    kinds.MULTI_INSERT: 0,
}
DROPPED = {kinds.DATABASE_DROPPED: "database", kinds.SPACE_DROPPED: "tablespace"}
OUTRIGHT = {kinds.SPACE_MADE, kinds.IN_PLACE, *DROPPED}
HALF = 1 << 31  # xids are compared modulo 2^32 (TransactionIdPrecedes)
STATES: dict[int, State] = {
    kinds.COMMIT: "committed",
    kinds.COMMIT_PREPARED: "committed",
    kinds.ABORT: "aborted",
    kinds.ABORT_PREPARED: "aborted",
    kinds.PREPARE: "prepared",
}


@dataclass(slots=True)  # not frozen: there are millions, and that would take three times as long to make
class Ended:
    """A transaction that ended, with the position of the record that says so.

    Attributes:
        microseconds: since 1970 (UTC), by the server's clock.
        whole: False where it may have begun before the WAL that was read.
        dropped: files that its end removes.
        renamed: relations that may have another name since; 0: any.
        aside: whether it was in a database that was drydock's alone.
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
    aside: bool = False


class Assembler:
    """Takes records, gives transactions; what is still going on can be written down and taken up again.

    Attributes:
        going_on: by xid.
        prepared: the same for two-phase transactions that wait.
        next_xid: the 64-bit number of the next transaction, as the last checkpoint had it; 0: not seen yet.
        whole_from: transactions from this xid on began in the WAL that was read; None: not known yet;
            ALL: all of them did.
        aside: databases in which drydock alone works.
        databases: the number of the file of pg_database, which VACUUM FULL changes.
        marked: the last record that changed the row of a database in place, be it of a DROP DATABASE without a number
            yet; 0: none.
        events: position, transaction, kind, and which. Databases that became drydock's alone (`aside`) or no longer are
            (`open`); and what is done by whoever replays the record, whatever becomes of the transaction: tablespaces
            made (`tablespace`, with their folder), tablespaces and databases dropped (`dropping`). They are not dumped:
            whoever writes down the rest takes them.
    """

    def __init__(self, *, whole_from: int | None = None) -> None:
        self.going_on: dict[int, Work] = {}
        self.prepared: dict[int, Work] = {}
        self.next_xid = 0
        self.whole_from = whole_from
        self.aside: set[str] = set()
        self.databases = DATABASES
        self.marked = 0
        self.events: list[tuple[int, int, str, str]] = []

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
                    number = DATABASES if number == self.databases else number
                    work.changes_catalogue(table, number, kind)
                    if number == DATABASES and kind == kinds.DELETE:
                        self._drops(xid, self.marked or stretch.position(place), "database")
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

    def take_events(self) -> list[tuple[int, int, str, str]]:
        """What became of tablespaces and databases since the last time."""
        taken, self.events = self.events, []
        return taken

    def dump(self) -> str:
        """What is to be known when the records go on, as JSON."""
        return json.dumps(
            {
                "going_on": {xid: work.document() for xid, work in self.going_on.items()},
                "prepared": {xid: work.document() for xid, work in self.prepared.items()},
                "next_xid": self.next_xid,
                "whole_from": self.whole_from,
                "aside": sorted(self.aside),
                "databases": self.databases,
                "marked": self.marked,
            }
        )

    @classmethod
    def load(cls, text: str) -> Assembler:
        """The one that `dump` wrote down."""
        raw = json.loads(text)
        made = cls(whole_from=raw["whole_from"])
        made.next_xid, made.databases, made.marked = raw["next_xid"], raw["databases"], raw["marked"]
        made.aside = set(raw["aside"])
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
        elif kind in OUTRIGHT:
            self._outright(kind, xid, stretch.position(place), data, place)
        elif kind == kinds.LOCK:
            self._locked(bodies.locks(data, at))
        elif kind == kinds.RUNNING:
            self._running(*bodies.running(data, at))
        elif kind == kinds.CHECKPOINT:
            self.next_xid = bodies.next_xid(data, at)
        elif said := bodies.message(data, at):
            self._said(self._work(xid), said)
        return None

    def _said(self, work: Work, said: bodies.Message) -> None:
        text = said.content.decode(errors="replace")
        work.database = work.database or str(said.database)
        if said.prefix == PREFIX:
            work.who = work.who or text[:WHO_LIMIT]
        elif said.prefix in ASIDE:
            work.handed += ((text, ASIDE[said.prefix]),)

    def _hand(self, lsn: int, xid: int, handed: tuple[tuple[str, bool], ...]) -> None:
        for database, aside in handed:
            if aside != (database in self.aside):
                self.aside ^= {database}
                self.events.append((lsn, xid, "aside" if aside else "open", database))

    def _is_aside(self, work: Work) -> bool:
        """A session changes nothing but its own database, and what all of them share."""
        database = work.database or database_of(next(iter(work.rows), b"//"))
        return database in self.aside

    def _outright(self, kind: int, xid: int, position: int, data: bytes, place: int) -> None:
        """DROP DATABASE makes the database invalid in place before it deletes its row (dropdb() in dbcommands.c)."""
        if kind == kinds.SPACE_MADE:
            self.events.append((position, xid, "tablespace", bodies.location(data, bodies.body(data, place))))
        elif kind in DROPPED:
            if kind == kinds.DATABASE_DROPPED:
                self._hand(position, xid, ((str(bodies.dropped_database(data, bodies.body(data, place))), False),))
            self._drops(xid, position, DROPPED[kind])
        elif (file := bodies.FILE.unpack(bodies.block_file(data, place)))[0] == SHARED:
            # Only pg_database of these is ever changed in place (callers of heap_inplace_update()).
            self.databases, self.marked = file[2], position

    def _drops(self, xid: int, position: int, what: str) -> None:
        """Without a transaction, files are removed that were moved elsewhere: ALTER DATABASE … SET TABLESPACE."""
        if xid:
            self.events.append((position, xid, "dropping", what))

    def _locked(self, locks: list[tuple[int, int, int]]) -> None:
        for xid, database, relation in locks:
            work = self._work(xid)
            work.database = work.database or (str(database) if database else "")
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
        if self.aside:
            made.aside = self._is_aside(work)
        if work.handed:
            self._hand(lsn, xid, work.handed)
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
        if end.database:
            work.database = str(end.database)
        aside = self._is_aside(work)
        if state == "committed":
            self._hand(lsn, xid, work.handed)
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
            aside=aside,
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


@cache
def _table(file: bytes) -> tuple[bytes, int]:
    """A file as text, and its number where it is a catalogue's; large objects are somebody's data."""
    tablespace, _, number = bodies.FILE.unpack(file)
    catalogue = tablespace == SHARED or (number < FIRST_NORMAL and number != LARGE_OBJECTS)
    return bodies.text(file), number if catalogue else 0


def _rows(kind: int, data: bytes, place: int) -> int:
    """Changes that do not all count alike."""
    at = bodies.body(data, place)
    if kind == kinds.MULTI_INSERT:
        return bodies.tuples(data, at) * INSERTED
    return -INSERTED if bodies.takes_back(data, at) else DELETED


def _renamed(work: Work, invalidated: tuple[int, ...]) -> tuple[int, ...]:
    """Relations whose name may be another one since."""
    return invalidated if invalidated and work.renaming == 1 else (0,)
