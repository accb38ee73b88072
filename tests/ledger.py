"""A ledger for tests of going back: commits whose place in the WAL is known, a base backup from before them, the WAL.

All three are made by hand, with the server's own programs, so that the recovery itself is under test and nothing else.
"""

from __future__ import annotations

import contextlib
import io
import re
import subprocess
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from drydock import postgres
from drydock.recovery.restores import rewind
from drydock.recovery.wal.positions import SEGMENT_SIZE, format_lsn, parse_lsn

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from drydock.environment import Environment

_COMMIT = re.compile(r"tx: +(\d+), lsn: ([0-9A-F/]+), .*desc: COMMIT")
_NEEDED = ("max_connections", "max_worker_processes", "max_wal_senders", "max_prepared_transactions")


@dataclass(frozen=True)
class Stop:
    """Where to stop."""

    timeline: int
    lsn: int
    inclusive: bool


@dataclass(frozen=True)
class Ledger:
    """Commit number n is the one after which the table `ledger` holds the numbers 1 to n.

    Attributes:
        folder: base.tar and wal/ with the segments, complete and under their bare names.
        commits: where the record of each commit starts, by its number minus one.
        settings: what the server had.
    """

    folder: Path
    commits: tuple[int, ...]
    settings: dict[str, str]

    def recipe(self, commit: int, *, inclusive: bool) -> rewind.Recipe:
        """What makes the moment right before or right after a commit, counted from 1."""
        pieces = [piece(path) for path in sorted((self.folder / "wal").iterdir())]
        return rewind.Recipe(
            base=lambda: opened(self.folder / "base" / "base.tar"),
            wal=pieces[1:],
            last=pieces[:1],
            settings=self.settings,
            stop=Stop(1, self.commits[commit - 1], inclusive),
        )


def piece(path: Path) -> rewind.Piece:
    """A file for pg_wal as it is."""
    return rewind.Piece(path.name, path.stat().st_size, lambda: opened(path))


@contextlib.contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """A file, opened."""
    with path.open("rb") as stream:
        yield stream


def write(environment: Environment, folder: Path, commits: int) -> Ledger:
    """Take a base backup, commit that many times into a new table `ledger`, and take the WAL of it all."""
    folder.mkdir()
    (folder / "wal").mkdir()
    run(environment, folder, "pg_basebackup", "-Ft", "-X", "none", "-c", "fast", "-D", "base", "--no-manifest")
    backup_label = _member(folder / "base" / "base.tar", "backup_label")
    start = parse_lsn(_found(r"START WAL LOCATION: ([0-9A-F/]+)", backup_label))
    with postgres.connect(environment, environment.superuser) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS ledger (number int PRIMARY KEY)")
        connection.execute("TRUNCATE ledger")
        xids = []
        for number in range(1, commits + 1):
            row = connection.execute(
                "INSERT INTO ledger VALUES (%s) RETURNING pg_current_xact_id()::text", (number,)
            ).fetchone()
            assert row is not None
            xids.append(int(str(row[0])))
        # One transaction more, which is in no ledger: there is WAL after the last commit.
        connection.execute("CREATE TABLE after_all ()")
        connection.execute("DROP TABLE after_all")
        ends = connection.execute("SELECT pg_current_wal_flush_lsn()::text").fetchone()
        settings = connection.execute("SELECT name, setting FROM pg_settings WHERE name = ANY(%s)", (list(_NEEDED),))
        needed = {str(name): str(value) for name, value in settings}
    assert ends is not None
    take_wal(environment, folder / "wal", start, parse_lsn(str(ends[0])))
    found = _commits(environment, folder / "wal", format_lsn(start), str(ends[0]))
    return Ledger(folder, tuple(found[xid] for xid in xids), needed)


def take_wal(environment: Environment, folder: Path, start: int, end: int) -> None:
    """Copy the segments out of the server's pg_wal, as it hands out files."""
    with postgres.connect(environment, environment.superuser) as connection:
        for number in range(start // SEGMENT_SIZE, end // SEGMENT_SIZE + 1):
            name = f"{1:08X}{number // 256:08X}{number % 256:08X}"
            row = connection.execute("SELECT pg_read_binary_file(%s)", (f"pg_wal/{name}",)).fetchone()
            assert row is not None
            assert isinstance(row[0], bytes)
            (folder / name).write_bytes(row[0])


def run(environment: Environment, folder: Path, program: str, *arguments: str) -> str:
    """What a program of the server prints; it must succeed."""
    process = environment.engine.run(program, arguments, folder=folder, stdout=subprocess.PIPE)
    out, err = process.communicate()
    assert process.returncode == 0, err
    return out.decode()


def _commits(environment: Environment, folder: Path, start: str, end: str) -> dict[int, int]:
    lines = run(environment, folder, "pg_waldump", "-p", ".", "-r", "Transaction", "-s", start, "-e", end)
    return {int(xid): parse_lsn(lsn) for xid, lsn in _COMMIT.findall(lines)}


def _member(archive: Path, name: str) -> str:
    with tarfile.open(archive) as tar:
        stream = tar.extractfile(name)
        assert stream is not None
        return stream.read().decode()


def _found(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    assert found is not None, text
    return found[1]


@contextlib.contextmanager
def archive(files: dict[str, bytes]) -> Iterator[BinaryIO]:
    """A tar archive of these files."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        for name, data in files.items():
            header = tarfile.TarInfo(name)
            header.size, header.mode = len(data), 0o600
            tar.addfile(header, io.BytesIO(data))
    content.seek(0)
    yield content
