"""pg_dump and pg_restore as a person calls them: the server's own programs, run with the environment's connection."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from drydock import postgres
from drydock.backup.pg_program import ending

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from drydock.environment import Environment

DUMPS: dict[str, tuple[str, ...]] = {
    "pg_dump -Fc": ("-Fc",),
    "pg_dump -Fc -Z0": ("-Fc", "-Z0"),
    "pg_dump -Fd -j2 -Z0": ("-Fd", "-j2", "-Z0"),
    "pg_dump -Fd -j2 -Z gzip:1": ("-Fd", "-j2", "-Zgzip:1"),
}
PIPE = "pg_dump -Fc -Z0 into zstd -1 -T2"


def dump(environment: Environment, name: str, folder: Path) -> None:
    """Dump into `folder` in one of the ways above, as a file or a folder called `dump`."""
    if name == PIPE:
        _piped(environment, folder / "dump")
    else:
        arguments = [*DUMPS[name], "--file=dump"]
        _finish(environment.engine.run("pg_dump", arguments, role=environment.backup, folder=folder))


def _piped(environment: Environment, made: Path) -> None:
    arguments = ["-Fc", "-Z0"]
    process = environment.engine.run("pg_dump", arguments, role=environment.backup, stdout=subprocess.PIPE)
    with made.open("wb") as stream, ending(process):
        subprocess.run(["zstd", "-q", "-1", "-T2"], stdin=process.stdout, stdout=stream, check=True)
        os.fsync(stream.fileno())  # as pg_dump does where it writes files itself
        _finish(process)


@dataclass(frozen=True)
class Restore:
    """A way to call pg_restore: its jobs, and what an index build gets: memory and parallel workers."""

    jobs: int
    memory: str
    workers: int

    def __str__(self) -> str:
        """As the table names it."""
        return f"`pg_restore -j{self.jobs}`, {self.memory}, {self.workers} workers"

    def run(self, environment: Environment, folder: Path, database: str, patience: float | None = None) -> None:
        """Restore the dump in `folder` (-Fd) into a database created for it.

        Raises:
            RuntimeError: where pg_restore fails.
            subprocess.TimeoutExpired: where it takes longer than `patience` seconds; it has ended then.
        """
        with postgres.administer(environment) as connection:
            postgres.create_empty(environment, connection, database)
        options = (
            f"-c synchronous_commit=off -c maintenance_work_mem={self.memory}"
            f" -c max_parallel_maintenance_workers={self.workers}"
        )
        arguments = ["-Fd", f"-j{self.jobs}", "-e", f"--dbname=dbname='{database}' options='{options}'", "dump"]
        _finish(environment.engine.run("pg_restore", arguments, folder=folder), patience)


# The server's shared memory (POSTGRES_SHM, 1 GB) must hold the graphs of all jobs that build one at the same time.
RESTORES = (
    Restore(2, "384MB", 2),
    Restore(1, "384MB", 2),
    Restore(1, "512MB", 2),
    Restore(1, "896MB", 2),
    Restore(2, "448MB", 2),
    Restore(2, "256MB", 2),
    Restore(2, "64MB", 2),
    Restore(2, "384MB", 1),
    Restore(2, "384MB", 0),
    Restore(4, "256MB", 2),
)


def best(take: Callable[[Restore, float | None], float]) -> dict[Restore, float]:
    """Seconds by way of restoring, the quickest first; what takes twice as long as another, or fails, is left out."""
    found: dict[Restore, float] = {}
    for way in RESTORES:
        try:
            found[way] = take(way, 2 * min(found.values()) if found else None)
        except subprocess.TimeoutExpired as error:
            print(f"{way}: more than {error.timeout:.1f} s", flush=True)
        except RuntimeError as error:
            print(f"{way}: {error}", flush=True)
    return dict(sorted(found.items(), key=lambda item: item[1]))


def _finish(process: subprocess.Popen[bytes], patience: float | None = None) -> None:
    with ending(process):
        _, said = process.communicate(timeout=patience)
        if process.returncode:
            raise RuntimeError(f"{process.args!r} -> {process.returncode}\n{said.decode(errors='replace')}")


def size_of(folder: Path) -> int:
    """Bytes in all files of a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
