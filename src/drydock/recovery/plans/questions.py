"""What the planner asks the WAL: where transactions ended, and where it ends itself. Types only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from drydock.recovery.wal.positions import Descent


class Commit(Protocol):
    """The record with which a transaction ended."""

    @property
    def timeline(self) -> int:
        """The timeline it was written on."""
        ...

    @property
    def lsn(self) -> int:
        """Where the record begins."""
        ...

    @property
    def end(self) -> int:
        """Where it ends."""
        ...

    @property
    def xid(self) -> int:
        """The transaction, never a part of it that a savepoint began."""
        ...

    @property
    def moment(self) -> datetime:
        """The server's clock, UTC."""
        ...

    @property
    def committed(self) -> bool:
        """False where it was rolled back."""
        ...


class Summary(Protocol):
    """What a stretch of WAL did."""

    @property
    def transactions(self) -> int:
        """How many were committed."""
        ...

    @property
    def tables(self) -> Mapping[str, tuple[int, int, int]]:
        """Rows inserted, updated and deleted, by table."""
        ...

    @property
    def ddl(self) -> int:
        """How many of the transactions changed the schema."""
        ...


class Dropping(Protocol):
    """A database or a tablespace that a transaction drops, which rolling it back does not undo."""

    @property
    def timeline(self) -> int:
        """The timeline it was written on."""
        ...

    @property
    def lsn(self) -> int:
        """Of its first record that cannot be undone."""
        ...

    @property
    def xid(self) -> int:
        """The transaction."""
        ...

    @property
    def what(self) -> str:
        """`database` or `tablespace`."""
        ...

    @property
    def ended(self) -> int | None:
        """Where its last record begins; None where none is known."""
        ...


class Positions(Protocol):
    """Questions about the WAL of a line of descent, answered from what is in the archive."""

    def first_after(self, descent: Descent, moment: datetime) -> Commit | None:
        """The first end of a transaction, by position, whose time is later."""
        ...

    def last_until(self, descent: Descent, moment: datetime) -> Commit | None:
        """The last end of a transaction, by position, whose time is this one or earlier."""
        ...

    def commits_of(self, xid: int) -> Sequence[Commit]:
        """The ends of the transactions, on all timelines, that had this number or a part with this number."""
        ...

    def record_from(self, descent: Descent, lsn: int) -> tuple[int, int] | None:
        """Start and end of the first record that begins at a position or later."""
        ...

    def last_record(self, descent: Descent) -> tuple[int, int] | None:
        """Start and end of the last record that is sound; None where there is none."""
        ...

    def last_time(self, descent: Descent) -> datetime | None:
        """The latest time at which a transaction ended."""
        ...

    def between(self, descent: Descent, lsn: int, end: int) -> Summary:
        """What was committed by records that begin in [lsn, end)."""
        ...

    def tablespace(self, descent: Descent, lsn: int, end: int) -> tuple[int, int, str] | None:
        """The first record in [lsn, end) that makes a tablespace in a folder of its own: timeline, position, folder."""
        ...

    def dropping(self, descent: Descent, lsn: int) -> Sequence[Dropping]:
        """What transactions were dropping that had begun to before a position and not ended, latest first."""
        ...

    def covered(self, descent: Descent, start: int, end: int) -> bool:
        """True where all records between two positions have been read, the one that ends at `end` included."""
        ...
