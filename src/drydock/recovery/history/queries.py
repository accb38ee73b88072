"""Questions about the transactions in the archive, answered from the index."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Self

from drydock.recovery.history import relations
from drydock.recovery.history.index import Index, Transaction, microseconds_of, moment_of, stretches
from drydock.recovery.history.naming import Counts, Names

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from types import TracebackType

    from drydock.recovery.archive.folders import Archive
    from drydock.recovery.wal.positions import Descent

FAR = 1 << 62  # behind every position
ENDED = "state < 2 AND "  # committed or aborted: what a server stops at
OWN = frozenset({"drydock.facts"})  # what only drydock writes for itself
# All but what changed nothing that people would look for: flushes, ANALYZE, writes to temporary and unlogged tables.
TELLING = "(ddl OR counts <> '' OR who LIKE '{%')"
OPEN = "NOT aside"  # what drydock does in databases that are nobody else's is no change of anybody's data
# The few that were ever prepared are known by themselves: no stretch of the million others is read for them.
PREPARED = (
    "state = 2 AND timeline = ?1 AND microseconds > ?4 AND lsn IN"
    " (SELECT lsn FROM prepared WHERE prepared.timeline = ?1 AND lsn >= ?2 AND lsn < ?3)"
)


@dataclass(frozen=True)
class Summary:
    """What the transactions committed in a stretch of WAL changed.

    Attributes:
        transactions: how many of them changed anything, as the history counts.
        tables: rows inserted, updated and deleted, but for what only drydock writes; a file that no table can be proven
            for is `?(16392)`.
        ddl: how many of them changed the schema.
    """

    transactions: int
    tables: dict[str, tuple[int, int, int]]
    ddl: int


@dataclass(frozen=True)
class Dropping:
    """A database or a tablespace that a transaction drops, which rolling it back does not undo.

    Attributes:
        lsn: of its first record that cannot be undone.
        what: `database` or `tablespace`.
        ended: where its last record begins; None where none is known.
    """

    timeline: int
    lsn: int
    xid: int
    what: str
    ended: int | None


class History:
    """The index of an archive for reading; what is not indexed yet is not there (`indexing.refresh`).

    Args:
        archive: whose.
        home: the name of the database whose tables are told without it; empty: all are.
    """

    def __init__(self, archive: Archive, home: str = "") -> None:
        self.archive = archive
        with ExitStack() as stack:
            self.index = stack.enter_context(Index(archive.history))
            self.maps = relations.kept(archive)
            self.names = Names(self.index, self.maps, self.index.descents(), home)
            stack.pop_all()  # it stays open

    def __enter__(self) -> Self:
        """It closes itself at the end."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """As the index."""
        self.index.__exit__(kind, error, trace)

    def first_after(self, descent: Descent, moment: datetime) -> Transaction | None:
        """The first end of a transaction, by position, whose time is later; one that was prepared counts as well.

        The server itself looks at ends only (recoveryStopsBefore in xlogrecovery.c), and would keep what was prepared
        between the moment and the next of them.
        """
        value = microseconds_of(moment)
        for timeline, begin, end in stretches(descent, 0, FAR):
            # The first whose running maximum is later is the first that is later itself.
            found = self._one("timeline = ? AND newest > ? AND lsn >= ?", (timeline, value, begin), "newest, lsn")
            until = min(found.lsn, end) if found else end
            prepared = self.index.transactions(PREPARED, (timeline, begin, until, value), order="lsn", limit=1)
            found = next(prepared, found)
            if found and found.lsn < end:
                return found
        return None

    def last_until(self, descent: Descent, moment: datetime) -> Transaction | None:
        """The last end of a transaction, by position, whose time is this one or earlier."""
        value = microseconds_of(moment)
        for timeline, begin, end in reversed(list(stretches(descent, 0, FAR))):
            where = "timeline = ? AND lsn >= ? AND lsn < ? AND microseconds <= ?"
            if found := self._one(where, (timeline, begin, end, value), "lsn DESC"):
                return found
        return None

    def commits_of(self, xid: int) -> list[Transaction]:
        """The ends, on every timeline, of transactions with this number, or one of whose parts has it.

        A number above 2^32 is a full one, and only those that are proven to have it are meant.
        """
        low, full = xid % (1 << 32), xid if xid >> 32 else None
        where = (
            "(xid = ?1 OR (timeline, lsn) IN (SELECT timeline, lsn FROM subtransactions WHERE xid = ?1))"
            " AND (?2 IS NULL OR full >> 32 = ?2 >> 32)"
        )
        return list(self.index.transactions(ENDED + where, (low, full)))

    def last_record(self, descent: Descent) -> tuple[int, int] | None:
        """The last valid record of any kind that was indexed: its position, and the one after it."""
        for timeline, begin, end in reversed(list(stretches(descent, 0, FAR))):
            query = "SELECT last, last_end FROM runs WHERE timeline = ? AND last >= ? AND last < ? ORDER BY last DESC"
            if found := self.index.rows(query, (timeline, begin, end)):
                return found[0][0], found[0][1]
        return None

    def last_time(self, descent: Descent) -> datetime | None:
        """The highest time at which a transaction of the descent ended."""
        query = "SELECT max(microseconds) FROM transactions WHERE state < 2 AND timeline = ? AND lsn >= ? AND lsn < ?"
        found = [self.index.rows(query, piece)[0][0] for piece in stretches(descent, 0, FAR)]
        times = [value for value in found if value is not None]
        return moment_of(max(times)) if times else None

    def between(self, descent: Descent, lsn: int, end: int) -> Summary:
        """What the transactions changed whose commit record begins at `lsn` or later, and before `end`."""
        transactions, ddl, tables = 0, 0, dict[str, Counts]()
        query = (
            "SELECT files, counts, count(*), sum(ddl), max(lsn), who LIKE '{%'"  # noqa: S608 - constants
            " FROM transactions JOIN shapes ON shapes.id = shape"
            f" WHERE state = 0 AND timeline = ? AND lsn >= ? AND lsn < ? AND {OPEN} AND {TELLING}"
            " GROUP BY shape, counts, ddl, who LIKE '{%'"
        )
        for piece in stretches(descent, lsn, end):
            for files, counts, times, changed, last, signed in self.index.rows(query, piece):
                rows = {file: _times(count, times) for file, count in zip(files.split(), counts.split(), strict=True)}
                named = self.names.tables(piece[0], last, rows)
                if not (changed or signed) and OWN.issuperset(named):
                    continue
                transactions += times
                ddl += changed
                for table, count in ((name, rows) for name, rows in named.items() if not _own(name)):
                    before = tables.get(table, (0, 0, 0))
                    tables[table] = (before[0] + count[0], before[1] + count[1], before[2] + count[2])
        return Summary(transactions, tables, ddl)

    def tablespace(self, descent: Descent, lsn: int, end: int) -> tuple[int, int, str] | None:
        """The first record in [lsn, end) that makes a tablespace in a folder of its own: timeline, position, folder."""
        query = (
            "SELECT timeline, lsn, file FROM events"
            " WHERE timeline = ? AND lsn >= ? AND lsn < ? AND kind = 'tablespace' AND file <> '' ORDER BY lsn LIMIT 1"
        )
        found = chain.from_iterable(self.index.rows(query, piece) for piece in stretches(descent, lsn, end))
        return next(((int(timeline), int(at), str(folder)) for timeline, at, folder in found), None)

    def dropping(self, descent: Descent, lsn: int) -> list[Dropping]:
        """What transactions were dropping that had begun to before a position and not ended, latest first."""
        query = (
            "SELECT timeline, lsn, xid, file FROM events"
            " WHERE timeline = ? AND lsn >= ? AND lsn < ? AND kind = 'dropping'"
        )
        found = chain.from_iterable(self.index.rows(query, piece) for piece in stretches(descent, 0, lsn))
        drops = [Dropping(timeline, at, xid, what, self._ended(descent, xid, at)) for timeline, at, xid, what in found]
        return sorted((one for one in drops if one.ended is None or one.ended >= lsn), key=lambda one: -one.lsn)

    def _ended(self, descent: Descent, xid: int, lsn: int) -> int | None:
        """Where the transaction ended that had a number at a position."""
        query = (
            "SELECT min(lsn) FROM transactions WHERE xid = ? AND state < 2 AND timeline = ? AND lsn >= ? AND lsn < ?"
        )
        found = (self.index.rows(query, (xid, *piece))[0][0] for piece in stretches(descent, lsn, FAR))
        return next((int(at) for at in found if at is not None), None)

    def covered(self, descent: Descent, start: int, end: int) -> bool:
        """True where all records between two positions of a descent have been read, up to the one before `end`."""
        return self.index.covered(descent, start, end)

    def present(self) -> Descent | None:
        """The line of descent that the newest map was taken on; None where there is none."""
        newest = max(self.maps, key=lambda found: found.taken, default=None)
        return self.index.descents().get(newest.timeline) if newest else None

    def _one(self, where: str, values: Sequence[object], order: str) -> Transaction | None:
        return next(iter(self.index.transactions(ENDED + where, values, order=order, limit=1)), None)


def _own(table: str) -> bool:
    """Whether only drydock writes it, in whatever database."""
    return table.rpartition(":")[2] in OWN


def _times(count: str, times: int) -> Counts:
    inserted, updated, deleted = map(int, count.split(","))
    return inserted * times, updated * times, deleted * times
