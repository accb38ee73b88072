"""What is known of an archive: sizes and hashes of its sealed files, and its base backups; in SQLite.

The catalogue alone knows that a file was there which is there no longer, and what exactly a file was. One that is lost
or damaged is made again from what the files themselves prove: that they unpack, and to the WAL that their names say.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from drydock.backup.manifest import PackedFile
from drydock.errors import DrydockError, word
from drydock.recovery.archive.folders import PARTIAL

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from drydock.recovery.archive.folders import Archive
    from drydock.recovery.wal.positions import Segment

PATIENCE = 30.0  # seconds that a writer waits for another one
_TABLE = """CREATE TABLE IF NOT EXISTS segments (
    part TEXT NOT NULL, file TEXT NOT NULL, timeline INTEGER NOT NULL, number INTEGER, size INTEGER NOT NULL,
    sha256 TEXT NOT NULL, unpacked INTEGER NOT NULL, sealed_at TEXT NOT NULL, PRIMARY KEY (part, file)) STRICT"""
_BASES = "CREATE TABLE IF NOT EXISTS bases (name TEXT PRIMARY KEY) STRICT"
_INDEX = "CREATE INDEX IF NOT EXISTS by_position ON segments (part, timeline, number)"
_INSERT = "INSERT OR REPLACE INTO segments VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_COLUMNS = "part, file, timeline, number, size, sha256, unpacked, sealed_at"


@dataclass(frozen=True, kw_only=True)
class Row:
    """A sealed file, or one that nobody writes any more.

    Attributes:
        part: whose folder it is in.
        file: its name there.
        timeline: of the segment, or the one that a history file is of; 0 for the part's description.
        number: of the segment; None for the other two.
        packed: its size and hash, and its size unpacked (bytes).
        sealed_at: UTC, ISO 8601.
    """

    part: str
    file: str
    timeline: int
    number: int | None
    packed: PackedFile
    sealed_at: str


class Catalogue:
    """The catalogue of an archive, made empty where there is none or it cannot be read: see `sealing.adopt`.

    Attributes:
        new: True where it has just been made, so that all that is sealed already is missing in it.
    """

    def __init__(self, archive: Archive) -> None:
        self.path = archive.catalogue
        self.new = not self.path.exists()
        try:
            self._prepare()
        except sqlite3.OperationalError as error:  # no room, no permission, locked: its content may be sound
            raise self._unusable(error) from error
        except sqlite3.DatabaseError:
            self._begin_anew()

    def record(self, rows: Iterable[Row]) -> None:
        """Enter sealed files, on disk (fsync) when this returns; an entry of the same file is replaced."""
        values = [_values(row) for row in rows]
        with self._writing() as connection:
            connection.executemany(_INSERT, values)

    def forget(self, part: str, files: Iterable[str]) -> None:
        """Take entries out, of files that are to be removed: first the entry, then the file."""
        pairs = [(part, file) for file in files]
        with self._writing() as connection:
            connection.executemany("DELETE FROM segments WHERE part = ? AND file = ?", pairs)

    def find(self, part: str, segment: Segment) -> PackedFile | None:
        """What the sealed file of a segment is; None where the catalogue does not know it."""
        condition = f"part = ? AND timeline = ? AND number = ? AND file NOT LIKE '%{PARTIAL}'"
        found = list(self._rows(condition, (part, segment.timeline, segment.number)))
        return found[0].packed if found else None

    def rows(self, part: str = "") -> list[Row]:
        """All entries, or those of a part, in the order of position."""
        return list(self._rows("part = ?", (part,)) if part else self._rows("1", ()))

    def enter_bases(self, names: Iterable[str]) -> None:
        """Enter base backups by name, so that one that is missing is missed."""
        with self._writing() as connection:
            connection.executemany("INSERT OR IGNORE INTO bases VALUES (?)", [(name,) for name in names])

    def forget_base(self, name: str) -> None:
        """Take a base backup out, before it is removed."""
        with self._writing() as connection:
            connection.execute("DELETE FROM bases WHERE name = ?", (name,))

    def bases(self) -> list[str]:
        """The names of all base backups that there should be."""
        with closing(self._connect()) as connection:
            return [str(name) for (name,) in connection.execute("SELECT name FROM bases ORDER BY name")]

    def _rows(self, condition: str, values: tuple[object, ...]) -> Iterator[Row]:
        with closing(self._connect()) as connection:
            query = f"SELECT {_COLUMNS} FROM segments WHERE {condition} ORDER BY part, timeline, number"  # noqa: S608 - a constant
            for part, file, timeline, number, size, sha256, unpacked, sealed_at in connection.execute(query, values):
                yield Row(
                    part=part,
                    file=file,
                    timeline=timeline,
                    number=number,
                    packed=PackedFile(size=size, sha256=sha256, unpacked=unpacked),
                    sealed_at=sealed_at,
                )

    def _prepare(self) -> None:
        if self.new:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with closing(self._connect()) as connection, connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(_TABLE)
            connection.execute(_INDEX)
            connection.execute(_BASES)
            (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if found != "ok":
                raise sqlite3.DatabaseError(found)

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(self._connect()) as connection, connection:
                yield connection
        except sqlite3.Error as error:
            raise self._unusable(error) from error

    def _unusable(self, error: sqlite3.Error) -> DrydockError:
        return DrydockError(f"Cannot use {self.path}: {error}.", hint=f"df -h {word(self.path.parent)}; invoke doctor")

    def _begin_anew(self) -> None:
        for suffix in ("", "-wal", "-shm"):  # the database with its own log and index
            self.path.with_name(f"{self.path.name}{suffix}").unlink(missing_ok=True)
        self.new = True
        self._prepare()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=PATIENCE)
        # In WAL mode NORMAL would let a power cut take back entries whose plain segment is gone already.
        connection.execute("PRAGMA synchronous = FULL")
        return connection


def _values(row: Row) -> tuple[object, ...]:
    packed = row.packed
    return (row.part, row.file, row.timeline, row.number, packed.size, packed.sha256, packed.unpacked, row.sealed_at)
