"""What a transaction did so far, as its records tell."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from functools import cache
from typing import Any

from drydock.recovery.history import row_counts
from drydock.recovery.wal import records as kinds

Rows = dict[bytes, int]  # by file, as `row_counts.pack` has them

RENAMING = {1259: 1, 2615: 2}  # files of pg_class and pg_namespace; see Work.renaming
LARGE_OBJECTS = 2613
DATABASES = 1262
SHARED = 1664  # GLOBALTABLESPACE_OID: catalogues that all databases share, and nothing else
# Catalogues that no change of a schema writes alone: statistics of ANALYZE with their toast, large objects' owners; and
# of those that all databases share the databases themselves with their settings, owners, rights and comments.
_NOT_DDL = frozenset({2619, 2840, 3429, 3430, 2995, DATABASES, 2964, 1214, 2396})


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
        database: the session's, as far as catalogues that it changed, exclusive locks and messages tell.
        copying: whether it makes a database, which is nothing else's transaction.
        handed: databases that are drydock's alone from its commit on (True), or no longer are.
    """

    rows: Rows = field(default_factory=dict)
    size: int = 0
    ddl: bool = False
    renaming: int = 0
    who: str = ""
    created: list[tuple[int, str]] = field(default_factory=list)
    database: str = ""
    copying: bool = False
    handed: tuple[tuple[str, bool], ...] = ()

    def document(self) -> dict[str, Any]:
        """It as JSON has it."""
        return {**asdict(self), "rows": {file.decode(): row_counts.unpack(rows) for file, rows in self.rows.items()}}

    def changes_catalogue(self, file: bytes, number: int, operation: int) -> None:
        """Take note of a changed row of a catalogue, by its file and the number of that."""
        self.database = self.database or database_of(file)
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
        self.handed += other.handed


def read_work(raw: dict[str, Any]) -> Work:
    """What `Work.document` wrote down."""
    rows = {file.encode(): row_counts.pack(*counts) for file, counts in raw.pop("rows").items()}
    created = [(lsn, file) for lsn, file in raw.pop("created")]
    handed = tuple((database, aside) for database, aside in raw.pop("handed"))
    return Work(**raw, rows=rows, created=created, handed=handed)


@cache
def database_of(file: bytes) -> str:
    """The database that a file is in; empty where it is of what all of them share."""
    return file.split(b"/")[1].decode().removeprefix("0")
