"""The file of the index: its tables, and how it is opened."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from drydock.errors import DrydockError, word

if TYPE_CHECKING:
    from pathlib import Path

VERSION = 5
_TABLES = """
CREATE TABLE runs (id INTEGER PRIMARY KEY, timeline INTEGER, begin INTEGER, reached INTEGER, last INTEGER,
    last_end INTEGER, newest INTEGER, carry TEXT);
CREATE TABLE transactions (timeline INTEGER, lsn INTEGER, until INTEGER, xid INTEGER, full INTEGER,
    microseconds INTEGER, newest INTEGER, state INTEGER, size INTEGER, ddl INTEGER, whole INTEGER, who TEXT,
    shape INTEGER, counts TEXT, subxids INTEGER, aside INTEGER, PRIMARY KEY (timeline, lsn)) WITHOUT ROWID;
CREATE INDEX by_xid ON transactions (xid);
CREATE INDEX by_newest ON transactions (timeline, newest);
CREATE INDEX by_shape ON transactions (shape, timeline);
CREATE TABLE timelines (timeline INTEGER PRIMARY KEY, stretches TEXT);
CREATE TABLE shapes (id INTEGER PRIMARY KEY, files TEXT UNIQUE);
CREATE TABLE subtransactions (xid INTEGER, timeline INTEGER, lsn INTEGER, PRIMARY KEY (xid, timeline, lsn))
    WITHOUT ROWID;
CREATE TABLE prepared (timeline INTEGER, lsn INTEGER, xid INTEGER, work TEXT, PRIMARY KEY (timeline, lsn));
CREATE TABLE events (timeline INTEGER, lsn INTEGER, xid INTEGER, kind TEXT, file TEXT, relation TEXT,
    PRIMARY KEY (timeline, lsn, kind, file, relation)) WITHOUT ROWID;
CREATE INDEX by_file ON events (file);
CREATE INDEX by_relation ON events (relation);
"""


def opened(path: Path) -> sqlite3.Connection:
    """A connection to the file, which is made where it is missing.

    Raises:
        sqlite3.DatabaseError: where it is damaged or of another version.
        sqlite3.OperationalError: where it cannot be used: no room, no permission, locked.
    """
    connection = sqlite3.connect(path, timeout=60)
    try:
        connection.execute("PRAGMA cache_size = -32768")  # kB
        # Pages of 4 kB: the less often they are copied from SQLite's log, the fewer times each of them is.
        connection.execute("PRAGMA wal_autocheckpoint = 16384")
        connection.execute("PRAGMA journal_mode = WAL")
        # A power cut may cost the last stretch, which is read again then.
        connection.execute("PRAGMA synchronous = NORMAL")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version not in {0, VERSION}:
            raise sqlite3.DatabaseError("of another version")  # noqa: TRY301 - as SQLite itself does for another format
        if not version:
            connection.executescript(f"BEGIN; {_TABLES} PRAGMA user_version = {VERSION}; COMMIT;")
        connection.execute("SELECT count(*) FROM runs").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def unusable(path: Path, error: sqlite3.OperationalError) -> DrydockError:
    """What there is to say where the file cannot be used."""
    return DrydockError(f"Cannot use {path}: {error}.", hint=f"df -h {word(path.parent)}; invoke doctor")


def remove(path: Path) -> None:
    """Remove the file with SQLite's own log of it and the index of that."""
    for suffix in ("", "-wal", "-shm"):
        path.with_name(f"{path.name}{suffix}").unlink(missing_ok=True)
