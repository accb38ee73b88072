"""The embedded engine: Postgres and Redis from the installed wheels, as processes of this machine."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections import deque
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from drydock.checkout import HOST, Role
from drydock.engine import (
    ARCHIVER,
    MAJOR,
    POSTGRES,
    REDIS,
    SERVICES,
    ServiceState,
    Volume,
    cluster,
    configuration,
    wheels,
)
from drydock.engine.embedded_archiver import Archiver
from drydock.engine.processes import Server, clean_environment, end_all, unprivileged
from drydock.errors import EngineError
from drydock.files import spread
from drydock.recovery.archive import synchronous

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from drydock.checkout import Checkout
    from drydock.checks import Check
    from drydock.engine.embedded_beside import EmbeddedBeside

# SIGINT is Postgres's fast shutdown: it ends connections and writes a checkpoint. SIGTERM makes Redis save and end.
ENDING = {POSTGRES: signal.SIGINT, REDIS: signal.SIGTERM}
PID_FILES = {POSTGRES: cluster.PID_FILE, REDIS: "redis.pid"}
VOLUME = re.compile(rf"postgres-\d+-(?:\d+|[a-z][a-z0-9_-]*)|{REDIS}")
# Programs that refuse to run as root.
UNPRIVILEGED = frozenset({"initdb", "pg_ctl", "pg_resetwal", "pg_rewind", "pg_upgrade", "postgres"})
# The wheel's psql was built on Red Hat and looks for terminals in two of these folders; Debian keeps them
# in a third (terminfo(5)).
TERMINALS = "/etc/terminfo:/lib/terminfo:/usr/lib/terminfo:/usr/share/terminfo"
FIRST_POLL, LAST_POLL = 0.05, 0.5  # seconds between looks at a log that is followed


class EmbeddedEngine:
    """Postgres and Redis as processes in sessions of their own, with their data in .drydock/volumes."""

    name = "embedded"

    def __init__(self, checkout: Checkout) -> None:
        self.checkout = checkout
        self.folder = checkout.settings.folder
        self.servers = {service: Server(service, self.folder, PID_FILES[service]) for service in SERVICES}
        self._archiver = Archiver(checkout)

    @cached_property
    def beside(self) -> EmbeddedBeside:
        """Volumes and servers beside the environment's own."""
        from drydock.engine.embedded_beside import EmbeddedBeside

        return EmbeddedBeside(self)

    def describe(self) -> str:
        """The servers' versions."""
        found = wheels.versions()
        return f"embedded PostgreSQL {found.postgres}, Redis {found.redis}"

    def start(self, report: Callable[[str], None]) -> None:
        """Start what is not running, or runs otherwise than declared; a first start initialises the data directory."""
        self.prepare()
        with failing("start the servers"):
            cluster.refuse_foreign(self.folder / "volumes", self.volume(POSTGRES))
            # Redis first: it loads its data while initdb, a second long, goes on.
            self._ensure(REDIS, report)
            self._ensure(POSTGRES, report)

    def prepare(self) -> None:
        """Have what every server needs: programs that run here, folders, the configuration and the secrets as files."""
        unprivileged()
        problem = wheels.available()
        if problem:
            raise EngineError(problem, hint=wheels.INSTALL)
        with failing("prepare the servers"):
            for name in ("volumes", "logs", "run"):
                (self.folder / name).mkdir(mode=0o700, exist_ok=True)
            spread(self.folder / "volumes")
            configuration.render(self.checkout)

    def stop(self) -> bool:
        """Stop both servers cleanly, and the archiver after Postgres; False where nothing ran."""
        with failing("stop the servers"):
            self._archiver.resume()
            synchronous.release_in_vain(self.checkout)
            return any([self._end(POSTGRES), self._archiver.stop(), self._end(REDIS)])

    def destroy(self) -> list[str]:
        """Stop both servers and remove their volumes, logs and notes; returns the names of what was removed."""
        self.stop()
        for volume in self.beside.servers():
            self.beside.end(volume)
        with failing("remove this checkout's data"):
            volumes = self._volume_folders()
            for folder in volumes:
                cluster.remove(folder)
            cluster.clear_leftovers(self.folder / "volumes")
            others = [self.folder / name for name in ("logs", "run") if (self.folder / name).exists()]
            for folder in others:
                cluster.remove(folder)
            return [folder.name for folder in volumes]

    def inspect(self) -> dict[str, ServiceState]:
        """The state of both processes, from their notes and the kernel; health is for the caller to probe."""
        return {service: self._inspect(service) for service in SERVICES}

    def start_archiver(self, report: Callable[[str], None]) -> None:
        """Start pg_receivewal in the part's folder."""
        with failing("start the archiver"):
            self._archiver.start(report)

    def stop_archiver(self) -> bool:
        """End pg_receivewal; False where none ran."""
        with failing("stop the archiver"):
            return self._archiver.stop()

    def archiver(self) -> ServiceState:
        """The state of pg_receivewal."""
        return self._archiver.state()

    def fingerprint(self) -> str:
        """The wheel's, the server's and pgvector's versions."""
        found = wheels.versions()
        return f"{wheels.POSTGRES_WHEEL} {wheels.wheel_version()}, PostgreSQL {found.postgres}, vector {found.vector}"

    def logs(self, service: str, *, lines: int, follow: bool = False) -> Iterator[str]:
        """The log's last lines; with `follow`, those to come until the server ends or the caller stops asking."""
        log = (self._archiver.process if service == ARCHIVER else self.servers[service]).log
        if not log.exists():
            return
        with failing(f"read {log}"), log.open(encoding="utf-8", errors="replace") as stream:
            yield from (line.rstrip("\n") for line in deque(stream, maxlen=lines))
            if follow:
                yield from _lines_to_come(stream, lambda: self._goes_on(service))

    def run(
        self,
        program: str,
        arguments: Sequence[str],
        *,
        role: Role | None = None,
        folder: Path | None = None,
        stdin: int | None = None,
        stdout: int | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start a program of the wheels; the password is in its environment."""
        prefix = unprivileged() if program in UNPRIVILEGED else []
        with failing(f"run {program}"):
            # Not close_fds: a program that outlives its killed task keeps the locks of what it works on.
            return subprocess.Popen(
                [*prefix, wheels.program(program), *arguments],
                cwd=folder,
                stdin=stdin,
                stdout=stdout,
                stderr=subprocess.PIPE,
                env=self._as(role or self.checkout.superuser),
                close_fds=False,
            )

    def tool(
        self, program: str, arguments: Sequence[str], *, folder: Path, stdout: int | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a program of the wheels that needs no server."""
        prefix = unprivileged() if program in UNPRIVILEGED else []
        with failing(f"run {program}"):
            return subprocess.Popen(
                [*prefix, wheels.program(program), *arguments],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=subprocess.PIPE,
                env=clean_environment({"TZ": "UTC", "LC_ALL": "C"}),
                close_fds=False,
            )

    def interactive(self, program: str, arguments: Sequence[str], *, role: Role | None = None) -> int:
        """Run psql or redis-cli on the user's terminal."""
        port = str(self.checkout.state.redis_port)
        address = ["-h", HOST, "-p", port] if program == "redis-cli" else []
        # Ctrl-C belongs to the program. A handler, not SIG_IGN: a child would inherit that, and `redis-cli monitor`
        # could not be ended.
        before = signal.signal(signal.SIGINT, lambda *_: None)
        environment = {"TERMINFO_DIRS": TERMINALS} | self._as(role or self.checkout.app)
        try:
            with failing(f"run {program}"):
                command = [str(wheels.program(program)), *address, *arguments]
                code = subprocess.run(command, check=False, env=environment).returncode
        finally:
            signal.signal(signal.SIGINT, before)
        # As a shell counts the end by a signal.
        return code if code >= 0 else 128 - code

    def volumes(self) -> list[Volume]:
        """The volumes with the space they take on disk."""
        with failing("look at this checkout's data"):
            return [
                Volume(folder.name, folder.name.partition("-")[0], _size(folder), cluster.major_of(folder))
                for folder in self._volume_folders()
            ]

    def checks(self) -> list[Check]:
        """What `doctor` should know of the wheels, the user namespace and the data."""
        from drydock.engine.embedded_checks import checks

        return checks(self)

    def volume(self, service: str) -> Path:
        """The folder of a service's data, whether it exists or not."""
        incarnation = self.checkout.state.incarnation
        return self.folder / "volumes" / (cluster.volume_name(incarnation) if service == POSTGRES else REDIS)

    def _goes_on(self, service: str) -> bool:
        state = self.archiver() if service == ARCHIVER else self._inspect(service)
        return state.status in {"running", "paused"}

    def _end(self, service: str) -> bool:
        return self.servers[service].stop(self.volume(service), ENDING[service])

    def _ensure(self, service: str, report: Callable[[str], None]) -> None:
        server, volume, declared = self.servers[service], self.volume(service), self._declared(service)
        launch, state = server.launched(), self._inspect(service)
        if state.status == "paused":
            report(f"{service} was paused: letting it go on")
            server.resume(volume)
        if state.status in {"running", "paused"}:
            if launch and launch.started_with == declared:
                return
            report(f"{service} runs otherwise than declared: starting it again")
        self._clear(service, report)
        server.launch(self._command(service), volume, started_with=declared)

    def _clear(self, service: str, report: Callable[[str], None]) -> None:
        """End what still runs of the service, and make its volume fit to start on."""
        server, volume = self.servers[service], self.volume(service)
        if server.pid(volume):
            server.stop(volume, ENDING[service])
        server.forget()
        if service == REDIS:
            volume.mkdir(mode=0o700, exist_ok=True)
            end_all(volume)
            return
        cluster.clear_leftovers(volume.parent)
        if cluster.major_of(volume) == MAJOR:
            cluster.heal(volume, report)
        else:
            report("initialising the Postgres data directory")
            cluster.create(self.checkout.settings, volume, server.log, report)

    def _command(self, service: str) -> list[str]:
        settings, state, volume = self.checkout.settings, self.checkout.state, self.volume(service)
        if service == POSTGRES:
            where = (f"listen_addresses={HOST}", f"port={state.postgres_port}", "unix_socket_directories=")
            return cluster.command(settings, volume, *where)
        # Its folder is the one it is started in.
        options = ("--port", str(state.redis_port), "--bind", HOST, "--daemonize", "no", "--pidfile", PID_FILES[REDIS])
        return [str(wheels.program("redis-server")), str(self.folder / "secrets" / "redis.conf"), *options]

    def _declared(self, service: str) -> str:
        """Hash of everything that a restart would put into effect."""
        return configuration.digest(self.checkout, self.fingerprint(), wheels.versions().redis, *self._command(service))

    def _inspect(self, service: str) -> ServiceState:
        status, pid, code = self.servers[service].status(self.volume(service))
        found = wheels.versions()
        program = f"PostgreSQL {found.postgres}" if service == POSTGRES else f"Redis {found.redis}"
        return ServiceState(status=status, exit_code=code, detail=f"{program} (process {pid})" if pid else program)

    def _volume_folders(self) -> list[Path]:
        folder = self.folder / "volumes"
        found = folder.iterdir() if folder.is_dir() else ()
        return sorted(path for path in found if VOLUME.fullmatch(path.name))

    def _as(self, role: Role) -> dict[str, str]:
        """The environment of a client program that connects as `role`."""
        settings, state = self.checkout.settings, self.checkout.state
        return clean_environment(
            {
                "PGHOST": HOST,
                "PGPORT": str(state.postgres_port),
                "PGUSER": role.name,
                "PGPASSWORD": role.password,
                "PGDATABASE": settings.database,
                "REDISCLI_AUTH": settings.redis_password,
            }
        )


@contextmanager
def failing(doing: str) -> Iterator[None]:
    """Turn what the operating system refuses into a sentence that says what was being done."""
    try:
        yield
    except OSError as error:
        raise EngineError(f"Could not {doing}: {error}.", hint="invoke doctor") from error


def _size(folder: Path) -> int:
    """Bytes on disk below `folder`; files that vanish meanwhile (a server may be running) count as nothing."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(parent) / name).lstat().st_blocks * 512
            except FileNotFoundError:
                continue
    return total


def _lines_to_come(stream: Iterator[str], alive: Callable[[], bool]) -> Iterator[str]:
    """Each further line of an open log, whole; ends when there is nothing left of a server that has ended."""
    pending, pause = "", FIRST_POLL
    while True:
        goes_on, text = alive(), "".join(stream)
        *whole, pending = (pending + text).split("\n")
        yield from whole
        if not goes_on:
            return
        pause = FIRST_POLL if text else min(pause * 2, LAST_POLL)
        # A file tells nobody that it grew, short of inotify, which macOS does not have.
        time.sleep(pause)
