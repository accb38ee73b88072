"""The docker engine: compose brings the servers up, the Docker SDK does all the rest."""

from __future__ import annotations

import re
import signal
import subprocess
from functools import cached_property
from typing import TYPE_CHECKING, Any

import docker
from docker.errors import DockerException, NotFound

from drydock import ports
from drydock.checkout import SUPERUSER
from drydock.engine import MAJOR, POSTGRES, REDIS, SERVICES, ServiceState, Volume, compose, configuration, declaration
from drydock.engine import docker_programs as programs
from drydock.engine.declaration import postgres_volume
from drydock.engine.docker_answers import failing, reason, service_state
from drydock.engine.docker_archiver import Archiver, unpause
from drydock.errors import EngineError
from drydock.images.resolve import major_of, resolve
from drydock.recovery.archive import synchronous

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from drydock.checkout import Checkout, Role
    from drydock.checks import Check
    from drydock.engine.docker_beside import DockerBeside

LABEL, SERVICE = "io.drydock.checkout", "com.docker.compose.service"
OLDEST = (20, 10)
ANY_VERSION = "1.41"  # not sent with the one question that is asked before the engine's version is known
START_INTERVAL = (25, 0)  # the first engine that knows health_check.start_interval
START = "Start Docker, or set ENGINE=embedded in .env for a new environment."
DATA = "/var/lib/postgresql/data"


def connect() -> docker.DockerClient:
    """A client of the Docker engine that the Docker CLI would use, proven to answer.

    Raises:
        EngineError: where none answers, it is too old, or compose is missing.
    """
    client, number = _client("No Docker engine answers", START)
    if version_tuple(number) < OLDEST:
        client.close()
        raise EngineError(f"Docker {number} is too old: 20.10 is needed.", hint=START)
    compose.version()
    return client


def _client(problem: str, hint: str) -> tuple[docker.DockerClient, str]:
    """A client that speaks the engine's own API version, and the engine's version.

    The SDK's way of finding that out leaves its socket open where the engine does not answer.
    """
    asking = docker.from_env(version=ANY_VERSION, timeout=60)
    try:
        found = asking.api.version(api_version=False)
        return docker.from_env(version=found["ApiVersion"], timeout=60), str(found["Version"])
    except (DockerException, OSError) as error:
        raise EngineError(f"{problem} ({reason(error)}).", hint=hint) from error
    finally:
        asking.close()


def version_tuple(text: str) -> tuple[int, ...]:
    """The leading numbers of a version such as `26.1.5+dfsg1`."""
    return tuple(int(number) for number in re.findall(r"\d+", text.split("+", maxsplit=1)[0])[:3])


class DockerEngine:
    """Postgres and Redis as containers of one compose project."""

    name = "docker"

    def __init__(self, checkout: Checkout) -> None:
        self.checkout = checkout
        self.client, self.version = _client(
            "The Docker engine of this environment does not answer",
            "Start Docker. The data is in its volumes and stays there.",
        )
        self._archiver = Archiver(self)

    @cached_property
    def beside(self) -> DockerBeside:
        """Volumes and servers beside the environment's own."""
        from drydock.engine.docker_beside import DockerBeside

        return DockerBeside(self)

    def describe(self) -> str:
        """Docker's and compose's versions."""
        return f"Docker {self.version}, Compose {'.'.join(map(str, compose.version()))}"

    def start(self, report: Callable[[str], None]) -> None:
        """Resolve the images, then let compose create and start what is missing or has changed."""
        compose.version()
        self.prepare(report)
        self._refuse_other_volume()
        self._forget_unfinished(report)
        self._wake()
        try:
            self.declaration().up(*SERVICES)
        except EngineError as error:
            # Between the look at the ports and the start somebody else may have taken one.
            raise ports.explain(self.checkout) or error from error

    def prepare(self, report: Callable[[str], None]) -> None:
        """Have what every server needs: its image, the configuration and the secrets as files."""
        chosen = {service: resolve(self.client, self.checkout, service, report) for service in SERVICES}
        self._refuse_other_image(chosen[POSTGRES])
        configuration.render(self.checkout)
        self.checkout.record(images=chosen)

    def stop(self) -> bool:
        """Stop and remove the containers; volumes stay."""
        ran = any(state.status != "absent" for state in (*self.inspect().values(), self.archiver()))
        if ran:
            with failing("stop Postgres before the archiver"):
                synchronous.release_in_vain(self.checkout)
                self._archiver.let_postgres_end()
            self.declaration().down()
        return ran

    def destroy(self) -> list[str]:
        """Remove containers, network and volumes that carry this checkout's label."""
        self.stop()
        for name in self.beside.servers():
            self.beside.end(name)
        self._remove_tools()
        removed = []
        with failing("remove this checkout's volumes"):
            for volume in self._volumes():
                volume.remove()
                removed.append(volume.name)
        return removed

    def inspect(self) -> dict[str, ServiceState]:
        """The state of both containers, from one listing and one look at each."""
        states = dict.fromkeys(SERVICES, ServiceState(status="absent"))
        with failing("ask Docker for the state of the containers"):
            for container in self.containers():
                if (service := container.labels.get(SERVICE, POSTGRES)) in SERVICES:
                    states[service] = service_state(container.attrs)
        return states

    def start_archiver(self, report: Callable[[str], None]) -> None:
        """Let compose create and start the archiver's container, where it is missing or has changed."""
        with failing("start the archiver"):
            self._archiver.start(report)

    def stop_archiver(self) -> bool:
        """Stop and remove the archiver's container; False where there was none."""
        with failing("stop the archiver"):
            return self._archiver.stop()

    def archiver(self) -> ServiceState:
        """The state of the archiver's container."""
        with failing("look at the archiver's container"):
            return self._archiver.state()

    def declaration(self, user: str = "") -> compose.Compose:
        """What compose is called with; `user` is the archiver's, and asked for where that is started."""
        return declaration.make(self.checkout, modern=version_tuple(self.version) >= START_INTERVAL, user=user)

    def fingerprint(self) -> str:
        """The image's content address."""
        with failing("look at the Postgres image"):
            return str(self._container(POSTGRES).attrs["Image"])

    def logs(self, service: str, *, lines: int, follow: bool = False) -> Iterator[str]:
        """The container's last lines; with `follow`, those to come as well."""
        with failing(f"read the log of {service}"):
            stream = self._container(service).logs(tail=lines, stream=True, follow=follow)
            pending = b""
            for chunk in stream:
                *whole, pending = (pending + chunk).split(b"\n")
                yield from (line.decode(errors="replace") for line in whole)
            if pending:
                yield pending.decode(errors="replace")

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
        """Start a client program inside the server's container; with a folder, in one of the same image beside it."""
        container = self._container(POSTGRES)
        connection = self._as(role.name if role else SUPERUSER)
        if folder is None:
            return programs.start(programs.inside(container, connection, program, arguments), stdin, stdout)
        secret = self.checkout.settings.folder / "secrets" / "pgpass"
        mounts = {folder.absolute(): programs.FOLDER, secret: programs.PASSWORDS}
        command = programs.beside(container, connection, f"{programs.TOOL}={self.checkout.state.checkout}", mounts)
        with failing("ask Docker how it runs"):
            user = programs.host_user(self.client.info()["SecurityOptions"])
        what = [f"--user={user}", f"--entrypoint={program}", container.attrs["Image"], *arguments]
        return programs.start([*command, *what], stdin, stdout)

    def tool(
        self, program: str, arguments: Sequence[str], *, folder: Path, stdout: int | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a program that needs no server, in a container of the image that runs, or that a start would take."""
        with failing(f"run {program}"):
            user = programs.host_user(self.client.info()["SecurityOptions"])
            image = self.checkout.state.images.get(POSTGRES) or resolve(
                self.client, self.checkout, POSTGRES, lambda _: None
            )
        command = [*programs.alone(self.checkout, folder, user), f"--entrypoint={program}", image, *arguments]
        return programs.start(command, subprocess.DEVNULL, stdout)

    def interactive(self, program: str, arguments: Sequence[str], *, role: Role | None = None) -> int:
        """Run psql or redis-cli inside its container on the user's terminal."""
        import sys

        terminal = ["--interactive", *(["--tty"] if sys.stdin.isatty() and sys.stdout.isatty() else [])]
        if program == "psql":
            options = self._as((role or self.checkout.app).name)
            service, inside = POSTGRES, [program, *arguments]
        else:
            # The password is read inside the container: no argument and no process environment carries it there.
            script = 'REDISCLI_AUTH="$(cat /run/secrets/redis_password)" exec redis-cli "$@"'
            options, service, inside = [], REDIS, ["sh", "-c", script, program, *arguments]
        command = ["docker", "exec", *terminal, *options, self._container(service).id, *inside]
        # Ctrl-C belongs to the program inside, not to us.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            return subprocess.run(command, check=False).returncode
        finally:
            signal.signal(signal.SIGINT, before)

    def volumes(self) -> list[Volume]:
        """This checkout's volumes, with sizes as Docker counts them."""
        with failing("list this checkout's volumes"):
            sizes = {v["Name"]: v["UsageData"]["Size"] for v in self.client.df()["Volumes"] or [] if v.get("UsageData")}
            return [
                Volume(v.name, REDIS if v.name == f"{self.checkout.state.name}-redis" else POSTGRES, sizes.get(v.name))
                for v in self._volumes()
            ]

    def checks(self) -> list[Check]:
        """What `doctor` should know of Docker, its images and its volumes."""
        from drydock.engine.docker_checks import checks

        return checks(self)

    def volume_major(self) -> int | None:
        """The Postgres major of the data volume; None where there is no volume or nothing in it."""
        name = postgres_volume(self.checkout)
        if not any(volume.name == name for volume in self._volumes()):
            return None
        image = self.checkout.state.images.get(POSTGRES) or self.checkout.settings.postgres_image
        container = self.client.containers.create(
            image, volumes={name: {"bind": DATA, "mode": "ro"}}, labels={programs.TOOL: self.checkout.state.checkout}
        )
        try:
            stream, _ = container.get_archive(f"{DATA}/PG_VERSION")
            return int(programs.only_file(b"".join(stream)))
        except NotFound:
            return None
        finally:
            container.remove(v=False)

    def _refuse_other_image(self, image: str) -> None:
        found = major_of(self.client, image)
        if found not in {None, MAJOR}:
            raise EngineError(
                f"{image} is Postgres {found}; this drydock runs {MAJOR}.", hint="Set POSTGRES_IMAGE in .env."
            )

    def _refuse_other_volume(self) -> None:
        if self.inspect()[POSTGRES].status != "absent":
            return
        held = self.volume_major()
        if held not in {None, MAJOR}:
            name = postgres_volume(self.checkout)
            raise EngineError(
                f"The volume {name} holds data of Postgres {held}; this drydock runs {MAJOR}.",
                hint=f"Dump it with Postgres {held} first; `invoke destroy` gives it up.",
            )

    def _forget_unfinished(self, report: Callable[[str], None]) -> None:
        """Remove a volume whose initialisation was interrupted: no `up` ever saw a usable server on it.

        The entry point takes a half-initialised folder for a finished one and would skip the rest (official image).
        """
        if self.checkout.state.system_identifier or self._still_initialising():
            return
        name = postgres_volume(self.checkout)
        stale = [volume for volume in self._volumes() if volume.name == name]
        if stale:
            report("the last initialisation was interrupted: starting it afresh")
            with failing(f"remove the unfinished volume {name}"):
                for container in self.containers():
                    container.remove(force=True)
                stale[0].remove()

    def _wake(self) -> None:
        """Containers that are paused go on, and those that Docker waits to start again, ever longer, start now."""
        with failing("start the containers"):
            for container in self.containers():
                if not unpause(container) and container.status == "restarting":
                    container.restart(timeout=0)

    def _remove_tools(self) -> None:
        """Remove what a killed task left: containers to look into a volume or write to it, and tools never started."""
        label = f"{programs.TOOL}={self.checkout.state.checkout}"
        with failing("remove containers of tools that were killed"):
            for container in self.client.containers.list(all=True, filters={"label": label}, ignore_removed=True):
                container.remove(force=True, v=True)

    def _still_initialising(self) -> bool:
        state = self.inspect()[POSTGRES]
        return state.running and state.restarts == 0

    def _as(self, role: str) -> list[str]:
        """Options of `docker exec` that connect a client program as `role`, the password coming from a file."""
        values = {"PGHOST": "127.0.0.1", "PGUSER": role, "PGDATABASE": self.checkout.settings.database}
        values["PGPASSFILE"] = programs.PASSWORDS
        return [part for name, value in values.items() for part in ("--env", f"{name}={value}")]

    def containers(self, service: str = "") -> list[Any]:
        """This checkout's containers, or that of one service."""
        filters = {"label": [f"{LABEL}={self.checkout.state.checkout}", f"{SERVICE}={service}" if service else SERVICE]}
        return list(self.client.containers.list(all=True, filters=filters, ignore_removed=True))

    def _container(self, service: str) -> Any:
        for container in self.containers(service):
            return container
        raise EngineError(f"The {service} container does not exist.", hint="invoke up")

    def _volumes(self) -> list[Any]:
        return list(self.client.volumes.list(filters={"label": f"{LABEL}={self.checkout.state.checkout}"}))
