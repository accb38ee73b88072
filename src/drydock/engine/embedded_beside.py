"""Volumes beside the embedded environment's own, and servers on them: more folders, more processes."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from drydock.checkout import HOST, SUPERUSER
from drydock.engine import MAJOR, POSTGRES, ServiceState, beside_words, cluster, wheels
from drydock.engine.beside_words import SYNC
from drydock.engine.embedded import ENDING, EmbeddedEngine, failing
from drydock.engine.process_table import inside
from drydock.engine.processes import Server, clean_environment
from drydock.files import write_atomic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import BinaryIO

    from drydock.checkout import Checkout

SOCKET_LINE = 4  # of postmaster.pid, counted from 0: the first socket folder (src/include/utils/pidfile.h)
PREFIX = "drydock-"


class EmbeddedBeside:
    """Folders in .drydock/volumes, and a process for each whose server runs."""

    def __init__(self, engine: EmbeddedEngine) -> None:
        self.engine = engine
        self.folder = engine.folder

    def prepare(self, report: Callable[[str], None]) -> None:  # noqa: ARG002 - nothing takes long here
        """Have the programs, the folders, the configuration and the secrets."""
        self.engine.prepare()

    def volume(self, suffix: str) -> str:
        """The name of the folder."""
        return f"postgres-{MAJOR}-{suffix}"

    def create(self, volume: str) -> None:
        """Make an empty folder, under a name that no checkout had before: by that its place on the disk is chosen."""
        with failing(f"create the volume {volume}"):
            self._path(volume).mkdir(mode=0o700)
            Path(tempfile.mkdtemp(dir=self.folder / "volumes", prefix=cluster.INITIALISING)).rename(self._path(volume))

    def write(self, volume: str, content: BinaryIO) -> None:
        """Have tar extract the archive: Python's own takes ten times as long for many small files."""
        with failing("run tar"):
            beside_words.feed(
                ["tar", "-x", "-o", "-b", "2048", "-f", "-", "-C", str(self._path(volume))], content, volume
            )

    def launch(self, volume: str, port: int, options: Sequence[str]) -> None:
        """Start the server; with port 0 on a socket in a folder that only this user may enter."""
        data, server = self._path(volume), self.server(volume)
        self._forget(volume)
        with failing(f"start a server on {volume}"):
            cluster.heal(data, lambda _line: None)
            private = "" if port else tempfile.mkdtemp(prefix=PREFIX)
            where = [f"listen_addresses={HOST if port else ''}", f"port={port or beside_words.PORT}"]
            where += [f"unix_socket_directories={private}", *(SYNC if sys.platform == "linux" else ())]
            if private:
                hba = self.folder / "config" / beside_words.HBA_FILE
                write_atomic(hba, beside_words.HBA, mode=0o644, durable=False)
                where.append(f"hba_file={hba}")
            command = cluster.command(self.engine.checkout.settings, data, *where, *options)
            server.launch(command, data, started_with="")

    def state(self, volume: str) -> ServiceState:
        """The state of the process."""
        status, pid, code = self.server(volume).status(self._path(volume))
        return ServiceState(status=status, exit_code=code, detail=f"process {pid}" if pid else "")

    def logs(self, volume: str) -> Iterator[str]:
        """The log's lines."""
        log = self.server(volume).log
        with failing(f"read {log}"):
            yield from log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else ()

    def ask(self, volume: str, script: str, database: str = SUPERUSER) -> str:
        """Run psql on the private socket."""
        address = {"PGHOST": self._socket(volume), "PGPORT": str(beside_words.PORT)}
        with failing("run psql"):
            process = subprocess.Popen(
                [str(wheels.program("psql")), *beside_words.PSQL, database],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=clean_environment(address),
            )
        return beside_words.answer(process, script)

    def end(self, volume: str) -> bool:
        """Stop the process cleanly, and remove its socket's folder."""
        return self._end(volume, ENDING[POSTGRES])

    def remove(self, volume: str) -> None:
        """End the process at once and remove the folder, which is whole or gone whenever somebody looks."""
        self._end(volume, signal.SIGQUIT)
        with failing(f"remove the volume {volume}"):
            if self._path(volume).exists():
                cluster.remove(self._path(volume))

    def volumes(self) -> list[str]:
        """The folders."""
        return sorted(path.name for path in (self.folder / "volumes").glob(self.volume("*")))

    def servers(self) -> list[str]:
        """Those with a note of their launch, and those whose launch was killed before it wrote one."""
        own = self.engine.volume(POSTGRES).name
        others = [name for name in self.volumes() if name != own]
        return [name for name in others if self.server(name).launched() or inside(self._path(name))]

    def at(self, checkout: Checkout, volume: str) -> EmbeddedEngine:
        """The engine with that volume's process for its Postgres."""
        return _Neighbour(checkout, self.server(volume), self._path(volume))

    def server(self, volume: str) -> Server:
        """The process of a volume, with its log and its note named like it."""
        return Server(volume, self.folder, cluster.PID_FILE)

    def _path(self, volume: str) -> Path:
        return self.folder / "volumes" / volume

    def _end(self, volume: str, kind: signal.Signals) -> bool:
        with failing(f"stop the server on {volume}"):
            private = self._socket(volume)
            ran = self.server(volume).stop(self._path(volume), kind)
            self._forget(volume)
            if Path(private).name.startswith(PREFIX):
                shutil.rmtree(private, ignore_errors=True)
            return ran

    def _forget(self, volume: str) -> None:
        self.server(volume).log.unlink(missing_ok=True)

    def _socket(self, volume: str) -> str:
        """The folder of the server's socket; empty where there is none."""
        with suppress(OSError, IndexError):
            lines = (self._path(volume) / cluster.PID_FILE).read_text(encoding="utf-8").splitlines()
            return lines[SOCKET_LINE].strip()
        return ""


class _Neighbour(EmbeddedEngine):
    """The engine with another Postgres, and the same Redis."""

    def __init__(self, checkout: Checkout, server: Server, path: Path) -> None:
        super().__init__(checkout)
        self.servers[POSTGRES] = server
        self._path = path

    def volume(self, service: str) -> Path:
        """The folder of a service's data."""
        return self._path if service == POSTGRES else super().volume(service)
