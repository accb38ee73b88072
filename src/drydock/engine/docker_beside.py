"""Volumes beside the docker environment's own, and servers on them: containers that compose does not know of."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

from docker.errors import NotFound

from drydock.checkout import HOST, SUPERUSER
from drydock.engine import MAJOR, POSTGRES, ServiceState, beside_words
from drydock.engine import docker_programs as programs
from drydock.engine.docker import DATA, LABEL, SERVICE, DockerEngine
from drydock.engine.docker_answers import failing, service_state
from drydock.errors import EngineError
from drydock.files import write_atomic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import BinaryIO

    from drydock.checkout import Checkout

BESIDE = "io.drydock.beside"  # a container's label: the volume its server runs on
WRITER = "io.drydock.writer"  # the volume that a container is there to write to: one that a kill leaves holds it
CONFIGURATION = "/etc/postgresql"
SOCKETS = "/var/run/postgresql"
GRACE = 60  # seconds for a shutdown checkpoint, as compose.yaml has it
# As compose.yaml has it: the entry point hands the data folder to the server's user and becomes that user.
CAPABILITIES = ["CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID"]


class DockerBeside:
    """Volumes with compose's labels, and containers without them."""

    def __init__(self, engine: DockerEngine) -> None:
        self.engine = engine
        self.client = engine.client
        self.checkout = engine.checkout

    def prepare(self, report: Callable[[str], None]) -> None:
        """Have the images, the configuration and the secrets."""
        self.engine.prepare(report)

    def volume(self, suffix: str) -> str:
        """The name of the volume."""
        return f"{self.checkout.state.name}-postgres-{MAJOR}-{suffix}"

    def create(self, volume: str) -> None:
        """Make a volume with the labels that compose gives its own: it takes one without them for a stranger's."""
        state = self.checkout.state
        labels = {
            LABEL: state.checkout,
            "io.drydock.root": str(self.checkout.settings.root),
            "com.docker.compose.project": state.name,
            "com.docker.compose.volume": "data",
        }
        with failing(f"create the volume {volume}"):
            self.client.volumes.create(volume, labels=labels)

    def write(self, volume: str, content: BinaryIO) -> None:
        """Have the engine extract the archive into a container that is never started."""
        with failing(f"write to the volume {volume}"):
            container = self.client.containers.create(
                self._image(),
                volumes={volume: {"bind": DATA, "mode": "rw"}},
                labels={programs.TOOL: self.checkout.state.checkout, WRITER: volume},
            )
            try:
                beside_words.feed(["docker", "cp", "-", f"{container.id}:{DATA}"], content, volume)
            finally:
                container.remove(v=False)

    def launch(self, volume: str, port: int, options: Sequence[str]) -> None:
        """Start a container of the server's image; with port 0 it has no network."""
        self.end(volume)
        config, secrets = self.checkout.settings.folder / "config", self.checkout.settings.folder / "secrets"
        files = {"postgresql.conf": "config_file", "pg_hba.conf": "hba_file"}
        if not port:
            write_atomic(config / beside_words.HBA_FILE, beside_words.HBA, mode=0o644, durable=False)
            files = {"postgresql.conf": "config_file", beside_words.HBA_FILE: "hba_file"}
        where = [f"{option}={CONFIGURATION}/{name}" for name, option in files.items()]
        where += [f"listen_addresses={'*' if port else ''}", f"unix_socket_directories={SOCKETS}", *beside_words.SYNC]
        mounts = {str(config / name): {"bind": f"{CONFIGURATION}/{name}", "mode": "ro"} for name in files}
        mounts |= {str(secrets / "pgpass"): {"bind": programs.PASSWORDS, "mode": "ro"}}
        mounts |= {volume: {"bind": DATA, "mode": "rw"}}
        with failing(f"start a server on {volume}"):
            self.client.containers.run(
                self._image(),
                ["postgres", *(part for option in (*where, *options) for part in ("-c", option))],
                detach=True,
                volumes=mounts,
                labels={LABEL: self.checkout.state.checkout, BESIDE: volume},
                **({"ports": {f"{beside_words.PORT}/tcp": (HOST, port)}} if port else {"network_mode": "none"}),
                **self._limits(),
            )

    def state(self, volume: str) -> ServiceState:
        """The state of the container."""
        with failing("ask Docker for the state of a container"):
            container = self._container(volume)
            return service_state(container.attrs) if container else ServiceState(status="absent")

    def logs(self, volume: str) -> Iterator[str]:
        """What the container wrote."""
        with failing(f"read the log of the server on {volume}"):
            container = self._container(volume)
            yield from container.logs().decode(errors="replace").splitlines() if container else ()

    def ask(self, volume: str, script: str, database: str = SUPERUSER) -> str:
        """Run psql inside the container, on the socket."""
        container = self._container(volume)
        if container is None:
            raise EngineError(f"No server runs on {volume}.")
        connection = ["--env", f"PGHOST={SOCKETS}"]
        command = programs.inside(container, connection, "psql", [*beside_words.PSQL, database])
        return beside_words.answer(programs.start(command, subprocess.PIPE, subprocess.PIPE), script)

    def end(self, volume: str) -> bool:
        """Stop the container cleanly and remove it."""
        with failing(f"stop the server on {volume}"):
            container = self._container(volume)
            if container is None:
                return False
            running = bool(container.status == "running")
            container.stop(timeout=GRACE)
            container.remove(v=False)
            return running

    def remove(self, volume: str) -> None:
        """Remove the container, whatever its server does, and the volume."""
        with failing(f"remove the volume {volume}"):
            for container in [*self._containers(volume), *self._labelled([f"{WRITER}={volume}"])]:
                container.remove(force=True)
            try:
                self.client.volumes.get(volume).remove()
            except NotFound:
                return

    def volumes(self) -> list[str]:
        """Those with this checkout's label."""
        with failing("list this checkout's volumes"):
            found = self.client.volumes.list(filters={"label": f"{LABEL}={self.checkout.state.checkout}"})
            return sorted(volume.name for volume in found if volume.name.startswith(self.volume("")))

    def servers(self) -> list[str]:
        """Those that have a container."""
        with failing("list the servers beside"):
            return sorted(container.labels[BESIDE] for container in self._containers())

    def at(self, checkout: Checkout, volume: str) -> DockerEngine:
        """The engine with that volume's container for its Postgres."""
        return _Neighbour(checkout, self, volume)

    def container(self, volume: str) -> Any:
        """The container whose server runs on a volume.

        Raises:
            EngineError: where there is none.
        """
        found = self._container(volume)
        if found is None:
            raise EngineError(f"No server runs on {volume}.")
        return found

    def _limits(self) -> dict[str, Any]:
        settings = self.checkout.settings
        return {
            "cap_drop": ["ALL"],
            "cap_add": CAPABILITIES,
            "security_opt": ["no-new-privileges:true"],
            "mem_limit": settings.postgres_memory,
            "shm_size": settings.postgres_shm,
            "pids_limit": 512,
        }

    def _image(self) -> str:
        return self.checkout.state.images.get(POSTGRES, self.checkout.settings.postgres_image)

    def _containers(self, volume: str = "") -> list[Any]:
        label = f"{BESIDE}={volume}" if volume else BESIDE
        return self._labelled([f"{LABEL}={self.checkout.state.checkout}", label])

    def _labelled(self, labels: list[str]) -> list[Any]:
        return list(self.client.containers.list(all=True, filters={"label": labels}, ignore_removed=True))

    def _container(self, volume: str) -> Any:
        return next(iter(self._containers(volume)), None)


class _Neighbour(DockerEngine):
    """The engine with another Postgres, and the same Redis."""

    def __init__(self, checkout: Checkout, beside: DockerBeside, volume: str) -> None:
        super().__init__(checkout)
        self._found = beside.container(volume)

    def containers(self, service: str = "") -> list[Any]:
        others = [c for c in super().containers(service) if c.labels[SERVICE] != POSTGRES]
        return [*others, self._found] if service in {"", POSTGRES} else others
