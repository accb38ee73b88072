"""Every transaction in the archive, in SQLite: written once per stretch of WAL, and asked ever after.

It holds nothing that the archive does not: a missing, damaged or older file is made anew by the next indexing.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import astuple, dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Any, Self

from drydock.errors import DrydockError
from drydock.recovery.history import index_file
from drydock.recovery.history.row_counts import unpack
from drydock.recovery.history.transactions import full_xid
from drydock.recovery.wal.positions import Descent, Stretch

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from drydock.recovery.history.transactions import Assembler, Ended
    from drydock.recovery.wal.waldump import Reach

STATES = ("committed", "aborted", "prepared")
_NUMBERS = {state: number for number, state in enumerate(STATES)}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_COLUMNS = "timeline, lsn, until, xid, full, microseconds, state, size, ddl, whole, who, counts, subxids, aside, files"
_INSERT, _VALUES = "INSERT OR REPLACE INTO transactions VALUES ", f"({', '.join('?' * 16)})"
# As many rows in one statement: half the time of executemany(). SQLite takes 32,766 values (limits.html).
TOGETHER = 500
_FROM = "transactions JOIN shapes ON shapes.id = shape"
_FROM_SHAPE = "transactions INDEXED BY by_shape JOIN shapes ON shapes.id = shape"


@dataclass(frozen=True)
class Run:
    """A stretch of a timeline that was read without a gap.

    Attributes:
        begin: where it was begun.
        reached: where the next reading goes on.
        last: the last record seen, of any kind; 0: none.
        last_end: position after it.
        newest: the highest time of an end so far.
        carry: what `Assembler.dump` gave; empty at the beginning.
    """

    number: int
    timeline: int
    begin: int
    reached: int
    last: int = 0
    last_end: int = 0
    newest: int = 0
    carry: str = ""

    @property
    def end(self) -> int:
        """Up to where all records were read."""
        return max(self.reached, self.last_end)


@dataclass(frozen=True, kw_only=True)
class Transaction:
    """A transaction that ended, or was prepared.

    Attributes:
        lsn: of the record that says so; `end` is the position after that record.
        full: the 64-bit number, where a checkpoint proves it.
        moment: UTC, by the server's clock.
        whole: False where it may have begun before the WAL that was read: its rows are at least these.
        subxids: how many subtransactions it has.
        aside: whether drydock did it in a database that was not, or not yet, anybody else's.
        rows: inserted, updated, deleted, by file.
    """

    timeline: int
    lsn: int
    end: int
    xid: int
    full: int | None
    moment: datetime
    state: str
    size: int
    ddl: bool
    whole: bool
    who: str
    subxids: int
    aside: bool
    rows: dict[str, tuple[int, int, int]]

    @property
    def committed(self) -> bool:
        """Whether its changes are there."""
        return self.state == "committed"


class Index:
    """The file with the transactions of one cluster.

    Raises:
        DrydockError: where the file cannot be used; a damaged one is replaced by an empty one.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = path
        try:
            self._connection = index_file.opened(path)
        except sqlite3.OperationalError as error:  # no room, no permission, locked: its content may be sound
            raise index_file.unusable(path, error) from error
        except sqlite3.DatabaseError:
            index_file.remove(path)
            self._connection = index_file.opened(path)
        self._shapes: dict[bytes, int] = {}

    def __enter__(self) -> Self:
        """It lets go of its file at the end."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of the file; where its content proved damaged, remove it: it is made anew.

        Raises:
            DrydockError: instead of what SQLite says.
        """
        self.close()
        if isinstance(error, sqlite3.OperationalError):
            raise index_file.unusable(self.path, error) from error
        if isinstance(error, sqlite3.DatabaseError):
            index_file.remove(self.path)
            raise DrydockError(
                f"{self.path} is damaged, and was removed: {error}.", hint="The same command again: it is made anew."
            ) from error

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def runs(self, timeline: int | None = None) -> list[Run]:
        """What was read, oldest first."""
        rows = self._connection.execute(
            "SELECT * FROM runs WHERE ?1 IS NULL OR timeline = ?1 ORDER BY timeline, begin", (timeline,)
        )
        return [Run(*row) for row in rows]

    def begin(self, timeline: int, begin: int) -> Run:
        """Take note of a stretch that is about to be read."""
        with self._connection:
            cursor = self._connection.execute(
                "INSERT INTO runs VALUES (NULL, ?, ?, ?, 0, 0, 0, '')", (timeline, begin, begin)
            )
        return Run(int(cursor.lastrowid or 0), timeline, begin, begin)

    def add(self, run: Run, ended: Sequence[Ended], assembler: Assembler, reach: Reach) -> Run:
        """Write what was read together with how far that was: both or neither."""
        self._shapes = {files.encode(): number for number, files in self.rows("SELECT id, files FROM shapes")}
        newest = run.newest
        rows, subs, prepared = [], [], []
        events: list[tuple[Any, ...]] = [(run.timeline, *one, "") for one in assembler.take_events()]
        for one in ended:
            newest = max(newest, one.microseconds) if one.state != "prepared" else newest
            rows.append(self._row(run, one, assembler.next_xid, newest))
            if one.subxids:
                subs += [(xid, run.timeline, one.lsn) for xid in one.subxids]
            if one.work.created or one.dropped or one.renamed:
                events += _events(run.timeline, one)
            if one.state == "prepared":
                prepared.append((run.timeline, one.lsn, one.xid, json.dumps(one.work.document())))
        last, last_end = (reach.start, reach.end) if reach.start is not None else (run.last, run.last_end)
        grown = Run(run.number, run.timeline, run.begin, reach.end, last, last_end, newest, assembler.dump())
        with self._connection as connection:
            for at in range(0, len(rows), TOGETHER):
                some = rows[at : at + TOGETHER]
                connection.execute(_INSERT + ",".join([_VALUES] * len(some)), list(chain.from_iterable(some)))
            connection.executemany("INSERT OR REPLACE INTO subtransactions VALUES (?, ?, ?)", subs)
            connection.executemany("INSERT OR REPLACE INTO prepared VALUES (?, ?, ?, ?)", prepared)
            connection.executemany("INSERT OR REPLACE INTO events VALUES (?, ?, ?, ?, ?, ?)", events)
            if assembler.next_xid and not _next_xid(run.carry):
                self._prove_numbers(run, assembler.next_xid)
            connection.execute(
                "UPDATE runs SET reached = ?, last = ?, last_end = ?, newest = ?, carry = ? WHERE id = ?",
                (grown.reached, last, last_end, newest, grown.carry, run.number),
            )
        return grown

    def prepared(self, descent: Descent, lsn: int) -> dict[str, str]:
        """Two-phase transactions that wait at a position of a descent: what `Work.document` gave, by xid."""
        waiting: dict[str, str] = {}
        for timeline, begin, end in stretches(descent, 0, lsn):
            parts = (timeline, begin, end)
            rows = self._connection.execute(
                "SELECT lsn, xid, work FROM prepared WHERE timeline = ? AND lsn >= ? AND lsn < ?", parts
            )
            waiting |= {str(xid): work for _lsn, xid, work in rows}
            for xid in list(waiting):
                if self.rows(
                    "SELECT 1 FROM transactions WHERE xid = ? AND state < 2 AND timeline = ? AND lsn >= ? AND lsn < ?",
                    (int(xid), *parts),
                ):
                    del waiting[xid]
        return waiting

    def _prove_numbers(self, run: Run, next_xid: int) -> None:
        query = "SELECT lsn, xid FROM transactions WHERE timeline = ? AND lsn >= ? AND full IS NULL"
        rows = self.rows(query, (run.timeline, run.begin))
        proven = [(full_xid(xid, next_xid), run.timeline, lsn) for lsn, xid in rows]
        self._connection.executemany("UPDATE transactions SET full = ? WHERE timeline = ? AND lsn = ?", proven)

    def _row(self, run: Run, one: Ended, next_xid: int, newest: int) -> tuple[Any, ...]:
        work, files = one.work, b" ".join(one.work.rows)
        return (
            run.timeline,
            one.lsn,
            one.end,
            one.xid,
            full_xid(one.xid, next_xid),
            one.microseconds,
            newest,
            _NUMBERS[one.state],
            work.size,
            work.ddl,
            one.whole,
            work.who,
            self._shapes.get(files) or self._shape(files),
            _counts(*work.rows.values()),
            len(one.subxids),
            one.aside,
        )

    def _shape(self, files: bytes) -> int:
        if files not in self._shapes:
            self._shapes[files] = len(self._shapes) + 1
            self._connection.execute("INSERT INTO shapes VALUES (?, ?)", (self._shapes[files], files.decode()))
        return self._shapes[files]

    def transactions(
        self,
        where: str,
        values: Sequence[Any] = (),
        *,
        order: str = "timeline, lsn",
        limit: int = -1,
        shape: int | None = None,
    ) -> Iterator[Transaction]:
        """Transactions that meet a condition on the table's columns; conditions and orders are constants.

        Args:
            where: the condition.
            values: for its parameters.
            order: of what comes.
            limit: how many; -1: all.
            shape: only those that changed this set of files. They are taken from the index of shapes, for SQLite
                would rather read all transactions than sort a few.
        """
        source, of = (_FROM, "") if shape is None else (_FROM_SHAPE, f"shape = {shape} AND ")
        query = f"SELECT {_COLUMNS} FROM {source} WHERE {of}{where} ORDER BY {order} LIMIT {limit}"  # noqa: S608 - see above
        for row in self._connection.execute(query, values):
            yield _transaction(row)

    def covered(self, descent: Descent, start: int, end: int) -> bool:
        """True where all records between two positions of a descent have been read, up to the one before `end`."""
        for timeline, lower, upper in stretches(descent, start, end):
            if not any(run.begin <= lower and upper <= run.end for run in self.runs(timeline)):
                return False
        return True

    def remember(self, descents: Mapping[int, Descent]) -> None:
        """Keep where the timelines come from."""
        rows = [(timeline, json.dumps([astuple(s) for s in one.stretches])) for timeline, one in descents.items()]
        with self._connection as connection:
            connection.executemany("INSERT OR REPLACE INTO timelines VALUES (?, ?)", rows)

    def descents(self) -> dict[int, Descent]:
        """Where the timelines come from, by timeline."""
        rows = self.rows("SELECT timeline, stretches FROM timelines")
        return {timeline: Descent(tuple(Stretch(*one) for one in json.loads(text))) for timeline, text in rows}

    def rows(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """What a SELECT gives."""
        return self._connection.execute(statement, values).fetchall()


def moment_of(microseconds: int) -> datetime:
    """Microseconds since 1970 as a time (UTC)."""
    return EPOCH + timedelta(microseconds=microseconds)


def microseconds_of(moment: datetime) -> int:
    """The other way round, exactly."""
    return (moment - EPOCH) // timedelta(microseconds=1)


def stretches(descent: Descent, begin: int, end: int) -> Iterator[tuple[int, int, int]]:
    """The pieces (timeline, from, to) of a descent between two positions, oldest first."""
    for piece in descent.stretches:
        lower = max(piece.begin, begin)
        upper = end if piece.end is None else min(piece.end, end)
        if lower < upper:
            yield piece.timeline, lower, upper


def _transaction(row: Sequence[Any]) -> Transaction:
    timeline, lsn, end, xid, full, microseconds, state, size, ddl, whole, who, counts, subxids, aside, files = row
    rows = zip(files.split(), (tuple(map(int, count.split(","))) for count in counts.split()), strict=True)
    return Transaction(
        timeline=timeline,
        lsn=lsn,
        end=end,
        xid=xid,
        full=full,
        moment=moment_of(microseconds),
        state=STATES[state],
        size=size,
        ddl=bool(ddl),
        whole=bool(whole),
        who=who,
        subxids=subxids,
        aside=bool(aside),
        rows={file: (count[0], count[1], count[2]) for file, count in rows},
    )


@lru_cache(1024)
def _counts(*rows: int) -> str:
    """Inserted, updated and deleted rows by file, as the table has them: applications do the same again and again."""
    return " ".join(["{},{},{}".format(*unpack(counts)) for counts in rows])


def _events(timeline: int, one: Ended) -> list[tuple[Any, ...]]:
    """What became of files and names. A file is made at once, whatever becomes of the transaction that made it."""
    if one.state == "prepared":
        return []
    events: list[tuple[Any, ...]] = [(timeline, lsn, one.xid, "created", file, "") for lsn, file in one.work.created]
    events += [(timeline, one.lsn, one.xid, "dropped", file, "") for file in one.dropped]
    events += [(timeline, one.lsn, one.xid, "renamed", "", f"{one.work.database}/{oid}") for oid in one.renamed]
    return events


def _next_xid(carry: str) -> int:
    return int(json.loads(carry)["next_xid"]) if carry else 0
