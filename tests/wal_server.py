"""A Postgres for tests of the WAL: two-phase transactions, a WAL that is kept, timelines that fork; embedded only."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import psycopg

from drydock.engine import wheels
from drydock.engine.embedded import EmbeddedEngine
from drydock.engine.processes import clean_environment, unprivileged
from drydock.recovery.archive.folders import Archive, Part
from drydock.recovery.wal.positions import NAME, parse_lsn

if TYPE_CHECKING:
    from drydock.checkout import Checkout

SYSTEM = "7000000000000000000"
CONFIGURATION = """
fsync = off
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_prepared_transactions = 10
wal_keep_size = 4GB
autovacuum = off
track_commit_timestamp = on
timezone = UTC
"""


class WalServer:
    """A cluster in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self.log = folder / "log"
        self.port = 0
        folder.mkdir()
        self._run("initdb", "-D", str(self.data), "-U", "postgres", "-A", "trust", "--no-sync", "--locale=C.UTF-8")
        with (self.data / "postgresql.conf").open("a", encoding="utf-8") as stream:
            stream.write(CONFIGURATION)

    def start(self) -> None:
        """Start it, and prove that what answers is this server and no other."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._control("start", "-o", f"-p {self.port}")
        # pg_ctl is content with a server that still recovers, and that says nothing when it has ended.
        deadline = time.monotonic() + 30
        while not self._writable() and time.monotonic() < deadline:
            time.sleep(0.02)
        found = Path(str(self.query("SHOW data_directory")[0][0]))
        assert found.samefile(self.data), f"{found} answers on port {self.port}"

    def stop(self, mode: str = "fast") -> None:
        """Stop it; `immediate` is a crash."""
        self._control("stop", "-m", mode)

    def connect(self) -> psycopg.Connection[Any]:
        """A connection of the superuser that commits each statement."""
        return psycopg.connect(f"host=127.0.0.1 port={self.port} user=postgres dbname=postgres", autocommit=True)

    def query(self, *statements: str) -> list[tuple[Any, ...]]:
        """Run statements in one session; the rows of the last one."""
        with self.connect() as connection:
            for statement in statements:
                cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def lsn(self) -> int:
        """Where the WAL has got to."""
        return parse_lsn(str(self.query("SELECT pg_current_wal_insert_lsn()")[0][0]))

    def next_segment(self) -> str:
        """The name of the segment that is begun now."""
        self.query("SELECT pg_switch_wal()", "SELECT FROM pg_current_xact_id()")
        return str(self.query("SELECT pg_walfile_name(pg_current_wal_insert_lsn())")[0][0])

    def _await_flush(self) -> None:
        """What no commit waits for, as a restore point, is written by the WAL writer within 200 ms."""
        deadline = time.monotonic() + 30
        while not self.query("SELECT pg_current_wal_flush_lsn() >= pg_current_wal_insert_lsn()")[0][0]:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def xid(self, connection: psycopg.Connection[Any]) -> int:
        """The transaction that a connection is in, without its epoch."""
        row = connection.execute("SELECT pg_current_xact_id()::text::bigint").fetchone()
        assert row is not None
        return int(row[0]) % (1 << 32)

    def fork(self, folder: Path) -> WalServer:
        """A server that goes on from where this one is, which must be stopped, on a timeline of its own."""
        other = WalServer.__new__(WalServer)
        other.data, other.log, other.port = folder / "data", folder / "log", 0
        shutil.copytree(self.data, other.data)
        (other.data / "recovery.signal").touch()
        with (other.data / "postgresql.conf").open("a", encoding="utf-8") as stream:
            stream.write("restore_command = false\n")
        return other

    def archive(self, folder: Path, part: str = "1", since: str = "") -> Archive:
        """An archive that holds what is in pg_wal by now, as an archiver would have it: the newest file is partial.

        Args:
            folder: where; what is there already stays.
            part: of the archive.
            since: the name of the first segment wanted.
        """
        archive = Archive(cast("Any", SimpleNamespace(backups=folder)), SYSTEM)
        target = archive.begin(
            Part(
                system_identifier=SYSTEM,
                name=part,
                incarnation=int(part),
                timeline=1,
                start="0/1000000",
                begun="2026-11-21T12:00:00+00:00",
                reason="first start",
            )
        )
        self._await_flush()
        found = sorted(path for path in (self.data / "pg_wal").iterdir() if NAME.fullmatch(path.name))
        newest = self.query("SELECT pg_walfile_name(pg_current_wal_insert_lsn())")[0][0]
        for path in found:
            if (
                since <= path.name <= newest and path.name[:8] == newest[:8]
            ):  # of an older timeline there is only a beginning
                (target / f"{path.name}.partial").unlink(missing_ok=True)
                shutil.copy(path, target / (f"{path.name}.partial" if path.name == newest else path.name))
        for path in (self.data / "pg_wal").glob("*.history"):
            shutil.copy(path, target / path.name)
        return archive

    def _writable(self) -> bool:
        try:
            return self.query("SELECT pg_is_in_recovery()") == [(False,)]
        except psycopg.OperationalError:
            return False

    def _control(self, *arguments: str) -> None:
        self._run("pg_ctl", "-D", str(self.data), "-l", str(self.log), "-w", *arguments)

    def _run(self, program: str, *arguments: str) -> None:
        # A server inherits what pg_ctl has: a pipe would stay open until it ends.
        with (self.data.parent / "output").open("ab") as output:
            subprocess.run(
                [*unprivileged(), str(wheels.program(program)), *arguments],
                check=True,
                cwd=self.data.parent,
                env=clean_environment({"LC_ALL": "C"}),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )


def tools(folder: Path) -> EmbeddedEngine:
    """An engine that can run programs and has no environment."""
    return EmbeddedEngine(cast("Checkout", SimpleNamespace(settings=SimpleNamespace(folder=folder))))
