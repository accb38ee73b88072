"""What runs the servers. One small protocol, two engines: docker and embedded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path
    from typing import BinaryIO

    from drydock.checkout import Checkout, Role
    from drydock.checks import Check

POSTGRES, REDIS = "postgres", "redis"
SERVICES = (POSTGRES, REDIS)
# What receives the WAL (recovery/archive/archiver.py): beside the services, for nothing that works on data needs it.
ARCHIVER = "archiver"
MAJOR = 16


@dataclass(frozen=True, kw_only=True)
class ServiceState:
    """What the engine knows of one service.

    Attributes:
        status: `absent`, `created`, `running`, `paused`, `restarting` or `exited`.
        exit_code: of the last run, where it has ended.
        restarts: how often the engine has started it again by itself.
        health: `healthy`, `unhealthy`, `starting`, or empty where the engine has no health check.
        detail: what runs: an image reference or a wheel and its version, with a process or container id.
    """

    status: str
    exit_code: int | None = None
    restarts: int = 0
    health: str = ""
    detail: str = ""

    @property
    def running(self) -> bool:
        """True while the service can be expected to answer."""
        return self.status == "running"

    @property
    def failed(self) -> bool:
        """True where waiting on is useless: it ended, or only comes back to end again."""
        return self.status in {"exited", "restarting", "dead"} or (self.restarts > 0 and self.status != "running")


@dataclass(frozen=True)
class Volume:
    """Data the engine keeps for one service: its name, its size in bytes, and the Postgres major in it, where known."""

    name: str
    service: str
    size: int | None = None
    major: int | None = None


class Beside(Protocol):
    """Volumes beside the environment's own, each for one Postgres, and the servers that run on them.

    Every method raises EngineError where the engine fails. A volume that a task was killed over stays until somebody
    who knows that nobody wants it calls `remove` (recovery/restores/unfinished.py does).
    """

    def prepare(self, report: Callable[[str], None]) -> None:
        """Have what a server needs: its image or wheel, the configuration and the secrets as files. Starts nothing."""
        ...

    def volume(self, suffix: str) -> str:
        """The name of a volume: of an incarnation by its number, of anything else by a word."""
        ...

    def create(self, volume: str) -> None:
        """Make an empty volume that `start` takes for an incarnation's, should it become one."""
        ...

    def write(self, volume: str, content: BinaryIO) -> None:
        """Extract a tar archive, uncompressed, into a volume, whoever owns the files in it."""
        ...

    def launch(self, volume: str, port: int, options: Sequence[str]) -> None:
        """Start the volume's server and return at once.

        Args:
            volume: one that holds a data directory; the server that ran on it before must have ended.
            port: on 127.0.0.1. With 0 no client can connect, and only `ask` reaches the server.
            options: `name=value` of the configuration, which win over every file.
        """
        ...

    def state(self, volume: str) -> ServiceState:
        """The state of the volume's server."""
        ...

    def logs(self, volume: str) -> Iterator[str]:
        """What the volume's server wrote since it was launched, oldest line first."""
        ...

    def ask(self, volume: str, script: str, database: str = "postgres") -> str:
        """What psql prints for a script, run as the superuser: unaligned, rows only. No password is asked for.

        Only servers launched with port 0 can be asked: by whoever may read their files anyway.

        Raises:
            EngineError: with what the server said, where a statement fails.
        """
        ...

    def end(self, volume: str) -> bool:
        """Stop the volume's server cleanly; False where none ran. What it wrote is forgotten."""
        ...

    def remove(self, volume: str) -> None:
        """End the volume's server and remove the volume; nothing happens where there is neither."""
        ...

    def volumes(self) -> list[str]:
        """Every Postgres volume of this checkout, the environment's own among them."""
        ...

    def servers(self) -> list[str]:
        """The volumes whose servers run, or ended by themselves."""
        ...

    def at(self, checkout: Checkout, volume: str) -> Engine:
        """The engine for a checkout whose Postgres is the server on that volume, launched on the state's port."""
        ...


class Engine(Protocol):
    """Runs the Postgres and the Redis of one checkout. Every method raises EngineError where the engine fails."""

    name: str

    @property
    def beside(self) -> Beside:
        """Volumes and servers beside the environment's own."""
        ...

    def describe(self) -> str:
        """Name and version for people, such as `Docker 26.1.5, Compose 2.26.1`."""
        ...

    def start(self, report: Callable[[str], None]) -> None:
        """Bring both servers up, creating what is missing; returns as soon as they are launched, not when ready.

        Does nothing to servers that already run as declared. `report` takes one line per slow step.
        """
        ...

    def stop(self) -> bool:
        """Stop both servers cleanly, keeping all data; False where nothing ran.

        The archiver ends after Postgres, so that it has received all there is.
        """
        ...

    def destroy(self) -> list[str]:
        """Stop both servers and remove this checkout's data; returns what was removed, by name."""
        ...

    def inspect(self) -> dict[str, ServiceState]:
        """The state of both services, by service name. Cheap: asked on every poll of a wait."""
        ...

    def start_archiver(self, report: Callable[[str], None]) -> None:
        """Have the WAL received into the folder of `state.part`; returns when that is launched, not when it receives.

        Does nothing to an archiver that already runs as declared.
        """
        ...

    def stop_archiver(self) -> bool:
        """End the archiver cleanly; False where none ran."""
        ...

    def archiver(self) -> ServiceState:
        """The state of the archiver."""
        ...

    def fingerprint(self) -> str:
        """Identity of what runs the database: changes with the image or wheel, so that templates go out of date."""
        ...

    def logs(self, service: str, *, lines: int, follow: bool = False) -> Iterator[str]:
        """The last `lines` lines that the service wrote, oldest first; with `follow`, those to come as well."""
        ...

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
        """Start a client program of the server's own version, connected as `role`: the superuser by default.

        The connection (host, port, user, password) is in the program's environment, never in its arguments. With
        `folder`, a folder of this machine, the program works in it: paths in its arguments are relative to that. Its
        stderr is a pipe. It keeps the locks that this process holds and has made inheritable.
        """
        ...

    def tool(
        self, program: str, arguments: Sequence[str], *, folder: Path, stdout: int | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a program of the server's own version that needs no server, in a folder of this machine.

        It has no network and no password, and its time zone is UTC. Its stderr is a pipe. It works whether or not the
        environment's servers exist.
        """
        ...

    def interactive(self, program: str, arguments: Sequence[str], *, role: Role | None = None) -> int:
        """Run psql (as the application role unless told) or redis-cli on the user's terminal; returns its exit code."""
        ...

    def volumes(self) -> list[Volume]:
        """This checkout's data, one entry per volume."""
        ...

    def checks(self) -> list[Check]:
        """What `doctor` should know of the engine itself: versions, images, modes, disk space."""
        ...
