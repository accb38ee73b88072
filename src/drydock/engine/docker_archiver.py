"""The docker engine's archiver: pg_receivewal in a container of the server's image, writing as the host's user."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from drydock.engine import ARCHIVER, POSTGRES, ServiceState
from drydock.engine import docker_programs as programs
from drydock.engine.docker_answers import service_state

if TYPE_CHECKING:
    from collections.abc import Callable

    from drydock.engine.docker import DockerEngine

STOP_TIMEOUT = 60  # seconds, as compose.yaml has it for Postgres


class Archiver:
    """The one service of the declaration that is not brought up with the servers."""

    def __init__(self, engine: DockerEngine) -> None:
        self.engine = engine

    def start(self, report: Callable[[str], None]) -> None:
        """Let compose bring it up; an archiver that somebody paused goes on."""
        found = self._container()
        if found is not None and unpause(found):
            report("the archiver was paused: letting it go on")
        user = programs.host_user(self.engine.client.info()["SecurityOptions"])
        self.engine.declaration(user).up(ARCHIVER)

    def stop(self) -> bool:
        """Stop and remove the container; what it has received stays. False where there was none."""
        found = self._container()
        if found is not None:
            unpause(found)
            found.stop()
            found.remove(v=True)
        return found is not None

    def let_postgres_end(self) -> None:
        """Stop Postgres while the archiver goes on: a clean stop waits until that has received the last record."""
        archiver = self._container()
        if archiver is not None:
            unpause(archiver)
            for server in self.engine.containers(POSTGRES):
                unpause(server)
                server.stop(timeout=STOP_TIMEOUT)

    def state(self) -> ServiceState:
        """From one listing and one look."""
        found = self._container()
        return ServiceState(status="absent") if found is None else service_state(found.attrs)

    def _container(self) -> Any:
        return next(iter(self.engine.containers(ARCHIVER)), None)


def unpause(container: Any) -> bool:
    """Let a paused container go on; False where it was not."""
    paused: bool = container.status == "paused"
    if paused:
        container.unpause()
    return paused
