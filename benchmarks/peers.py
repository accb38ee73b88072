"""Other ways to keep base backups and WAL of the checkout's server and to go back: by hand, Barman, pgBackRest."""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Protocol

from benchmarks.measure import run
from drydock.checkout import HOST, SUPERUSER
from drydock.engine import wheels
from drydock.recovery.archive.folders import Form
from drydock.recovery.bases import base
from drydock.recovery.wal.positions import parse_lsn

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from benchmarks.recovered import Goal
    from drydock.recovery.archive.folders import Stored
    from tests.checkout import Checkout

BARMAN = ("barman==3.19.1", "psycopg2-binary", "python-dateutil", "six")
JOBS = 2
SLOT = "barman"
STANZA = "main"
PATIENCE = 120.0  # seconds
POLL = 0.05


class MissingError(Exception):
    """Why a peer cannot be measured here, as a clause."""


class Peer(Protocol):
    """A tool that has base backups and the WAL of a server."""

    name: str

    def back_up(self) -> str:
        """Take a base backup of the running server; returns what it is called."""
        ...

    def receive(self, segments: Sequence[Stored]) -> None:
        """Have all these segments, which are complete."""
        ...

    def lay(self, backup: str, goal: Goal, data: Path) -> Sequence[str]:
        """Fill a new data directory, so that a server on it stops at the goal; returns the options that it needs."""
        ...

    def close(self) -> None:
        """End what runs."""
        ...


class ByHand:
    """zstd and tar from a shell, with drydock's own files: what nobody can do without."""

    name = "by hand: `zstd -d | tar x`, `zstd -d` of the WAL, `postgres`"

    def __init__(self, dock: Checkout) -> None:
        self.dock = dock
        self.segments: list[Stored] = []

    def back_up(self) -> str:
        """The one that drydock has just taken."""
        found = base.bases(base.archive_of(self.dock.environment))[-1]
        return str(found.path / base.TAR)

    def receive(self, segments: Sequence[Stored]) -> None:
        """They are drydock's."""
        self.segments = list(segments)

    def lay(self, backup: str, goal: Goal, data: Path) -> Sequence[str]:
        """One after the other, as in a shell."""
        run(["bash", "-o", "pipefail", "-c", 'zstd -qdc "$0" | tar -xo -f - -C "$1"', backup, str(data)])
        target, first = parse_lsn(goal.lsn), self._first(data)
        wanted = [stored for stored in self.segments if first <= stored.segment.start < target]
        packed = [str(stored.path) for stored in wanted if stored.form is Form.SEALED]
        for stored in wanted:
            if stored.form is not Form.SEALED:
                shutil.copyfile(stored.path, data / "pg_wal" / stored.segment.name)
        if packed:
            run(["zstd", "-qdf", "--output-dir-flat", str(data / "pg_wal"), *packed])
        (data / "recovery.signal").touch()
        return (
            "restore_command=false",
            f"recovery_target_lsn={goal.lsn}",
            "recovery_target_inclusive=off",
            f"recovery_target_timeline={goal.timeline}",
            "recovery_target_action=promote",
        )

    def close(self) -> None:
        """Nothing runs."""

    def _first(self, data: Path) -> int:
        """Where the WAL begins that the base backup does not have whole."""
        last = max(path.name for path in (data / "pg_wal").iterdir() if path.is_file())
        return next(stored.segment.start for stored in self.segments if stored.segment.name == last)


class Barman:
    """Barman with pg_basebackup and pg_receivewal, in a virtual environment of its own; nothing is compressed."""

    def __init__(self, dock: Checkout, folder: Path) -> None:
        if not shutil.which("rsync"):
            raise MissingError("Barman copies by rsync, which is not installed")
        self.dock, self.home = dock, folder / "barman"
        run([sys.executable, "-m", "venv", str(folder / "venv")])
        # Without what it asks for: psycopg2 would be compiled, against the PostgreSQL of the system.
        pip = subprocess.run(
            [str(folder / "venv/bin/pip"), "install", "-q", "--no-deps", *BARMAN], capture_output=True, check=False
        )
        if pip.returncode:
            raise MissingError(f"pip could not install Barman: {pip.stderr.decode(errors='replace').strip()}")
        self.program = str(folder / "venv/bin/barman")
        self.name = f"Barman {BARMAN[0].partition('==')[2]}: `barman recover --target-lsn`, `postgres`"
        self.config = folder / "barman.conf"
        self._configure()
        self._call("receive-wal", "--create-slot", STANZA)
        self.receiver = subprocess.Popen(
            [*self._command, "receive-wal", STANZA], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._await(self._is_streaming, "receives no WAL")

    def back_up(self) -> str:
        """By pg_basebackup, as plain files."""
        before = self._backups()
        self._call("backup", STANZA)
        (made,) = self._backups() - before
        return made

    def receive(self, segments: Sequence[Stored]) -> None:
        """Wait until the receiver has them, and have them moved into the archive."""
        last = segments[-1].segment.name
        archived = self.home / STANZA / "wals" / last[:16] / last

        def arrived() -> bool:
            self._call("archive-wal", STANZA)
            return archived.exists()

        self._await(arrived, f"has no {last}")

    def lay(self, backup: str, goal: Goal, data: Path) -> Sequence[str]:
        """By rsync, with as many jobs as there are cores; the server copies the WAL from beside itself."""
        words = ["--target-lsn", goal.lsn, "--exclusive", "--target-tli", str(goal.timeline)]
        self._call("recover", *words, "--target-action", "promote", "--jobs", str(JOBS), STANZA, backup, str(data))
        return ()

    def close(self) -> None:
        """End the receiver, and leave no slot."""
        self.receiver.terminate()
        self.receiver.wait()

    @property
    def _command(self) -> list[str]:
        return [self.program, "--quiet", "--config", str(self.config)]

    def _call(self, *words: str) -> str:
        return run([*self._command, *words])

    def _backups(self) -> set[str]:
        folder = self.home / STANZA / "base"
        return {path.name for path in folder.iterdir()} if folder.exists() else set()

    def _is_streaming(self) -> bool:
        return bool(self.dock.query(f"SELECT 1 FROM pg_replication_slots WHERE slot_name = '{SLOT}' AND active"))

    def _await(self, done: Callable[[], bool], otherwise: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not done():
            if time.monotonic() > deadline or self.receiver.poll() is not None:
                raise RuntimeError(f"Barman {otherwise}: {(self.home / 'log').read_text(encoding='utf-8')}")
            # pg_receivewal reports the end of a segment only with the next change.
            self.dock.query("SELECT pg_logical_emit_message(true, 'benchmark', '')")
            time.sleep(POLL)

    def _configure(self) -> None:
        environment = self.dock.environment
        self.home.mkdir()

        def info(role: str, database: str) -> str:
            who = getattr(environment, role)
            address = f"host={HOST} port={environment.state.postgres_port}"
            return f"{address} user={who.name} password={who.password} dbname={database}"

        lines = {
            "barman": {
                "barman_home": self.home,
                "barman_user": getpass.getuser(),
                "barman_lock_directory": self.home,
                "log_file": self.home / "log",
                "log_level": "WARNING",
            },
            STANZA: {
                "description": STANZA,
                "conninfo": info("superuser", SUPERUSER),
                "streaming_conninfo": info("replication", SUPERUSER),
                "backup_method": "postgres",
                "streaming_archiver": "on",
                "slot_name": SLOT,
                "path_prefix": wheels.program("postgres").parent,
                "immediate_checkpoint": "true",
            },
        }
        write_sections(self.config, lines)


class PgBackRest:
    """pgBackRest with zstd and as many processes as there are cores, which asks ahead for the WAL."""

    def __init__(self, dock: Checkout, folder: Path) -> None:
        found = shutil.which("pgbackrest")
        if not found:
            raise MissingError("there is no program pgbackrest")
        version = run([found, "version"]).split()[-1]
        if tuple(int(part) for part in version.split(".")[:2]) < (2, 48):
            raise MissingError(f"pgBackRest {version} does not know PostgreSQL 16; 2.48 does")
        self.dock, self.folder, self.program = dock, folder, found
        self.name = f"pgBackRest {version}: `pgbackrest restore --type=lsn`, `postgres`"
        ((self.volume,),) = dock.query("SHOW data_directory")
        self.config = folder / "pgbackrest.conf"
        self._configure()
        self._call("stanza-create")
        self.pushed: set[str] = set()

    def back_up(self) -> str:
        """A full backup, of the data directory itself."""
        # The WAL is pushed afterwards, so that the server needs no archive_command for this.
        self._call("backup", "--type=full", "--no-archive-check", "--start-fast")
        return max(path.name for path in (self.folder / "repo/backup" / STANZA).glob("*F"))

    def receive(self, segments: Sequence[Stored]) -> None:
        """Push each by the command that an archive_command is."""
        for stored in segments:
            name = stored.segment.name
            if name not in self.pushed:
                plain = self.folder / name
                with plain.open("wb") as target:
                    read = ["zstd", "-qdc"] if stored.form is Form.SEALED else ["cat"]
                    subprocess.run([*read, str(stored.path)], stdout=target, check=True)
                self._call("archive-push", "--no-archive-async", str(plain))
                plain.unlink()
                self.pushed.add(name)

    def lay(self, backup: str, goal: Goal, data: Path) -> Sequence[str]:
        """The files; the server asks for the WAL while it replays."""
        words = ["--type=lsn", f"--target={goal.lsn}", "--target-exclusive", "--target-action=promote"]
        self._call("restore", f"--set={backup}", *words, f"--target-timeline={goal.timeline}", f"--pg1-path={data}")
        return ()

    def close(self) -> None:
        """Nothing runs."""

    def _call(self, *words: str) -> str:
        environment = self.dock.environment
        return run(
            [self.program, f"--config={self.config}", f"--stanza={STANZA}", *words],
            environment=os.environ | {"PGHOST": HOST, "PGPASSWORD": environment.superuser.password},
        )

    def _configure(self) -> None:
        folders = {
            f"{name}-path": self.folder / folder
            for name, folder in (("repo1", "repo"), ("log", "log"), ("lock", "lock"), ("spool", "spool"))
        }
        for folder in folders.values():
            folder.mkdir()
        options = {
            "compress-type": "zst",
            "process-max": JOBS,
            "archive-async": "y",
            "log-level-console": "warn",
            "log-level-file": "off",
        }
        server = {
            "pg1-path": self.volume,
            "pg1-port": self.dock.environment.state.postgres_port,
            "pg1-user": SUPERUSER,
        }
        write_sections(self.config, {"global": folders | options, STANZA: server})


def write_sections(path: Path, sections: dict[str, dict[str, object]]) -> None:
    """Write a file of sections, each with lines `name = value`, which only its owner may read."""
    lines = [
        line
        for section, options in sections.items()
        for line in (f"[{section}]", *(f"{name} = {value}" for name, value in options.items()))
    ]
    path.touch(mode=0o600)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
