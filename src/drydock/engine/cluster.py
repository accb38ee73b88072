"""A Postgres data directory of the embedded engine: made whole or not at all, and made fit to start after a crash."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from drydock.checkout import SUPERUSER
from drydock.engine import MAJOR
from drydock.engine.process_table import inside, is_taken, wait_ended
from drydock.engine.processes import clean_environment, end_all, read_pid, unprivileged
from drydock.engine.wheels import postgres_home, program
from drydock.errors import EngineError, word
from drydock.files import sync_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from drydock.settings import Settings

INITIALISING, REMOVING = ".init-", ".removing-"
PID_FILE = "postmaster.pid"
SCRIPT_START = 60.0  # seconds for the temporary server of initialisation scripts to come up
# A locale that is always there: glibc brings C.UTF-8 itself, macOS en_US.UTF-8.
LOCALE = "en_US.UTF-8" if sys.platform == "darwin" else "C.UTF-8"
# scram from the first moment on: no server with `trust` ever exists.
INITDB = (
    "--auth=scram-sha-256",
    "--encoding=UTF8",
    f"--locale={LOCALE}",
    "--data-checksums",
    "--no-instructions",
    f"--username={SUPERUSER}",
)


def volume_name(incarnation: int) -> str:
    """The folder of an incarnation; the Postgres major is in its name."""
    return f"postgres-{MAJOR}-{incarnation}"


def major_of(volume: Path) -> int | None:
    """The Postgres major of the data in a folder; None where it holds no data directory."""
    try:
        return int((volume / "PG_VERSION").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def refuse_foreign(volumes: Path, volume: Path) -> None:
    """Stop before anything starts on data that this server cannot read.

    Raises:
        EngineError: where the data is of another major, or the folder holds something that is no data directory.
    """
    number = volume.name.rpartition("-")[2]
    for folder in sorted(volumes.glob(f"postgres-*-{number}")):
        held = major_of(folder)
        if held not in {None, MAJOR}:
            raise EngineError(
                f"{folder} holds data of Postgres {held}; this drydock runs {MAJOR}.",
                hint=f"Dump it with Postgres {held}, then move the folder away and run `invoke up`.",
            )
    if volume.exists() and major_of(volume) is None and any(volume.iterdir()):
        raise EngineError(f"{volume} is no Postgres data directory.", hint="Move it away and run `invoke up`.")


def create(settings: Settings, volume: Path, log: Path, report: Callable[[str], None]) -> None:
    """Make a cluster beside its place and move it there when it is complete and on disk.

    Args:
        settings: of the checkout, whose configuration has been rendered.
        volume: the data directory to be; a kill at any moment leaves it absent or complete.
        log: where initdb and the initialisation scripts write.
        report: takes a line per script.

    Raises:
        EngineError: where initdb or a script fails; nothing stays behind.
    """
    work = Path(tempfile.mkdtemp(dir=volume.parent, prefix=INITIALISING))
    data = work / "data"
    try:
        _initdb(settings, data, log)
        _run_scripts(settings, data, log, report)
        with suppress(FileNotFoundError):
            volume.rmdir()
        data.rename(volume)
        sync_folder(volume.parent)
    finally:
        end_all(work)
        shutil.rmtree(work)


def clear_leftovers(volumes: Path) -> None:
    """Finish what a killed task left: initialisations that have no name yet, and removals."""
    for leftover in [*volumes.glob(f"{INITIALISING}*"), *volumes.glob(f"{REMOVING}*")]:
        end_all(leftover)
        shutil.rmtree(leftover)


def remove(volume: Path) -> None:
    """Remove a volume so that a kill leaves it whole or gone: what is half removed has another name."""
    condemned = volume.with_name(f"{REMOVING}{volume.name}")
    if condemned.exists():
        shutil.rmtree(condemned)
    volume.rename(condemned)
    shutil.rmtree(condemned)


def heal(volume: Path, report: Callable[[str], None]) -> None:
    """Clear what keeps Postgres from starting after a kill -9 or a reboot. No server of the volume may be running.

    Two things do: backends that outlived their postmaster and hold its shared memory, and a pid file whose number now
    belongs to another program, which Postgres takes for its own postmaster (it only asks whether the number lives).
    """
    if inside(volume):
        report(f"ending {end_all(volume)} processes that outlived their Postgres")
    pid_file = volume / PID_FILE
    pid = read_pid(pid_file)
    # A number that nobody has is left to Postgres, which has more to check: the file names its shared memory as well.
    if pid and is_taken(pid):
        report(f"removing a stale {PID_FILE}: process {pid} is not this Postgres")
        pid_file.unlink()


def command(settings: Settings, data: Path, *options: str) -> list[str]:
    """The server's command line; each of `options` is a `name=value` of the configuration."""
    config = settings.folder / "config"
    files = (f"config_file={config / 'postgresql.conf'}", f"hba_file={config / 'pg_hba.conf'}")
    return [
        str(program("postgres")),
        "-D",
        str(data),
        *(part for option in (*files, *options) for part in ("-c", option)),
    ]


def _initdb(settings: Settings, data: Path, log: Path) -> None:
    password = settings.folder / "secrets" / "postgres_password"
    unsynced = ["--no-sync"] if settings.throwaway else []
    arguments = [str(program("initdb")), f"--pgdata={data}", f"--pwfile={password}", *INITDB, *unsynced]
    _logged([*unprivileged(), *arguments], log, data.parent, {"LC_ALL": "C"}, "initialise the Postgres data directory")


def _logged(arguments: Sequence[str], log: Path, folder: Path, environment: dict[str, str], doing: str) -> None:
    """Run a program with its output kept for the log.

    Raises:
        EngineError: with what it said last, where it fails.
    """
    done = subprocess.run(
        arguments,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=clean_environment(environment),
        check=False,
    )
    with open(log, "ab", opener=lambda path, flags: os.open(path, flags, 0o600)) as stream:
        stream.write(done.stdout)
    if done.returncode:
        text = done.stdout.decode(errors="replace").strip()
        telling = re.findall(r"\b(?:error|ERROR|FATAL|PANIC): +(.*)", text) or text.splitlines()
        reason = telling[-1].strip().rstrip(".") if telling else f"exit code {done.returncode}"
        raise EngineError(f"Could not {doing}: {reason}.", hint=f"All it said: tail {word(log)}")


def _run_scripts(settings: Settings, data: Path, log: Path, report: Callable[[str], None]) -> None:
    """What the official image does with /docker-entrypoint-initdb.d: *.sh and *.sql, in the order of their names."""
    folder = settings.folder / "config" / "initdb.d"
    scripts = sorted(path for path in folder.iterdir() if path.suffix in {".sh", ".sql"}) if folder.is_dir() else []
    if not scripts:
        return
    with _temporary_server(settings, data, log) as socket:
        environment = _script_environment(settings, socket)
        for script in scripts:
            report(f"initialising with {script.name}")
            _logged(_script_command(script), log, data.parent, environment, f"initialise with {script.name}")


def _script_command(script: Path) -> list[str]:
    """As the official entry point has it: SQL stops at the first error, a script without execute bit is sourced."""
    if script.suffix == ".sql":
        return [str(program("psql")), "-v", "ON_ERROR_STOP=1", "--no-psqlrc", "--no-password", "-f", str(script)]
    if os.access(script, os.X_OK):
        return [str(script)]
    return ["bash", "-Eeo", "pipefail", "-c", '. "$0"', str(script)]


def _script_environment(settings: Settings, socket: str) -> dict[str, str]:
    """What scripts written for the official image rely on."""
    path = clean_environment({}).get("PATH", os.defpath)
    return {
        "PATH": f"{postgres_home() / 'bin'}{os.pathsep}{path}",
        "PGHOST": socket,
        "PGUSER": SUPERUSER,
        "PGDATABASE": "postgres",
        "PGPASSWORD": settings.postgres_password,
        "POSTGRES_USER": SUPERUSER,
        "POSTGRES_DB": "postgres",
    }


@contextmanager
def _temporary_server(settings: Settings, data: Path, log: Path) -> Iterator[str]:
    """A server that only the scripts can find: no TCP, and a socket in a private folder of a short name (108 bytes)."""
    with tempfile.TemporaryDirectory(prefix="drydock-") as socket, log.open("ab") as output:
        options = ("listen_addresses=", f"unix_socket_directories={socket}", "port=5432")
        server = subprocess.Popen(
            [*unprivileged(), *command(settings, data, *options)],
            cwd=data,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=clean_environment({"LC_ALL": "C"}),
        )
        with server:
            try:
                _await_ready(server, data, log)
                yield socket
            finally:
                # A clean end: its checkpoint is what puts the scripts' work on disk before the cluster gets its name.
                end_all(data)
    if server.returncode:
        raise EngineError("The server for the initialisation scripts did not end well.", hint=f"tail {word(log)}")


def _await_ready(server: subprocess.Popen[bytes], data: Path, log: Path) -> None:
    """Wait until the server says so in line 8 of its pid file, as pg_ctl does (src/include/utils/pidfile.h)."""
    deadline = time.monotonic() + SCRIPT_START
    while time.monotonic() < deadline:
        with suppress(OSError, IndexError):
            if (data / PID_FILE).read_text(encoding="utf-8").splitlines()[7].strip() == "ready":
                return
        if wait_ended(server.pid, 0.02):
            break
    raise EngineError("The server for the initialisation scripts does not start.", hint=f"tail {word(log)}")
