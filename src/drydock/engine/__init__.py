"""What runs the servers. One small protocol, two engines: docker and embedded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from drydock.checkout import Role
    from drydock.checks import Check

POSTGRES, REDIS = "postgres", "redis"
SERVICES = (POSTGRES, REDIS)
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


class Engine(Protocol):
    """Runs the Postgres and the Redis of one checkout. Every method raises EngineError where the engine fails."""

    name: str

    def describe(self) -> str:
        """Name and version for people, such as `Docker 26.1.5, Compose 2.26.1`."""
        ...

    def start(self, report: Callable[[str], None]) -> None:
        """Bring both servers up, creating what is missing; returns as soon as they are launched, not when ready.

        Does nothing to servers that already run as declared. `report` takes one line per slow step.
        """
        ...

    def stop(self) -> bool:
        """Stop both servers cleanly, keeping all data; False where nothing ran."""
        ...

    def destroy(self) -> list[str]:
        """Stop both servers and remove this checkout's data; returns what was removed, by name."""
        ...

    def inspect(self) -> dict[str, ServiceState]:
        """The state of both services, by service name. Cheap: asked on every poll of a wait."""
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

    def interactive(self, program: str, arguments: Sequence[str]) -> int:
        """Run psql (as the application role) or redis-cli on the user's terminal; returns its exit code."""
        ...

    def volumes(self) -> list[Volume]:
        """This checkout's data, one entry per volume."""
        ...

    def checks(self) -> list[Check]:
        """What `doctor` should know of the engine itself: versions, images, modes, disk space."""
        ...
