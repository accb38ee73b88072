"""Starting, sharing and stopping a checkout's throwaway server."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from drydock import ports, postgres, readiness, redis_client
from drydock.checkout import HOST
from drydock.engine import configuration, wheels
from drydock.errors import BusyError, DrydockError
from drydock.files import write_atomic
from drydock.settings import load
from drydock.state import StateFile
from drydock.throwaway import clones, identity, keeper, place, templates
from drydock.throwaway.locks import Lease, Locks

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from drydock.environment import Environment
    from drydock.settings import Settings

IDLE = 900.0  # seconds that a server nobody uses goes on
ENGINES = ("embedded", "docker")


class Server:
    """A process's share in the throwaway server.

    Attributes:
        environment: where it is, its roles and their passwords.
        left_behind: databases of earlier runs that nobody uses any more.
    """

    def __init__(self, environment: Environment, lease: Lease, idle: float, left_behind: Sequence[str]) -> None:
        self.environment = environment
        self.left_behind = left_behind
        self._locks = Locks(environment.settings.folder)
        self._lease = lease
        self._idle = idle
        self._templates: dict[str, str] = {}

    def template(self, size: str) -> str:
        """The name of the migrated template, with seeds of `size` unless that is empty; built where it is missing.

        Raises:
            DrydockError: where a migration or a seed fails.
        """
        if size not in self._templates:
            with self._locks.door():
                self._templates[size] = templates.ensure(self.environment, size)
        return self._templates[size]

    def close(self) -> None:
        """Give the share up; the last one out stops a server that is not to be kept warm."""
        self._lease.release()
        if not self._idle:
            keeper.retire(self.environment.settings, self._locks, self._idle)


def open_server(root: Path, *, engine: str = "auto", idle: float = IDLE, data: str = "auto") -> Server:
    """Share the throwaway server of the checkout at `root`; it is started where none runs.

    Args:
        root: the checkout.
        engine: `auto`, `embedded` or `docker`.
        idle: seconds that it goes on when nobody uses it any more; 0 stops it with the last user.
        data: `auto`, `disk`, or a folder; see place.py.

    Raises:
        RefusedError: in production, or where the server is the developer's own.
        DrydockError: where it cannot be started.
    """
    own = load(root)
    chosen, reason = identity.choose(own, engine)
    settings = identity.settings_for(own, chosen)
    StateFile(own.folder).prepare()
    locks = Locks(settings.folder)
    locks.prepare()
    with locks.door():
        environment = _running(settings, locks) or _start(settings, reason, data, idle)
        identity.refuse_developers_own(environment)
        left_behind = clones.left_behind(environment) if locks.unused() else []
        return Server(environment, locks.join(), idle, left_behind)


def stop_all(root: Path) -> list[str]:
    """Stop the throwaway servers of a checkout with all their databases; returns their engines.

    Raises:
        BusyError: where tests are running on one.
    """
    stopped = []
    for engine in ENGINES:
        settings = identity.settings_for(load(root), engine)
        if not settings.folder.exists():
            continue
        locks = Locks(settings.folder)
        locks.prepare()
        with locks.door():
            if not locks.unused():
                raise BusyError(f"Tests are running on the {engine} server for tests.", hint="Let them end first.")
            keeper.clear(settings)
        stopped.append(engine)
    return stopped


def _running(settings: Settings, locks: Locks) -> Environment | None:
    """The recorded server, where it answers and is what a start would bring up now."""
    environment = identity.recorded(settings)
    if environment is None or not _answers(environment):
        return None
    if environment.state.started_with.partition(" ")[0] == _digest(environment):
        return environment
    if not locks.unused():
        raise BusyError(
            "The server for tests is out of date: its configuration has changed, and another run still uses it.",
            hint="Let that run end first.",
        )
    return None


def _answers(environment: Environment) -> bool:
    try:
        postgres.administer(environment).close()
        with redis_client.connect(environment) as redis:
            return redis.ask("PING") == "PONG"
    except (DrydockError, OSError):
        return False


def _start(settings: Settings, reason: str, data: str, idle: float) -> Environment:
    """Begin anew: what ran before is cleared away, whatever state it is in."""
    keeper.clear(settings)
    environment = identity.make(settings, reason)
    if settings.engine == "embedded":
        place.prepare(settings.folder, data)
    steps: list[str] = []
    ports.assign(environment, lambda _: False, steps.append)
    environment.engine.start(steps.append)
    readiness.wait_for_servers(environment)
    postgres.bootstrap(environment)
    _write_pgpass(environment)
    environment.record(runs=environment.engine.fingerprint())
    # Last: it says that all of the above is done. The random part tells this start from any other.
    environment.record(started_with=f"{_digest(environment)} {secrets.token_hex(8)}")
    keeper.spawn(environment, idle)
    return environment


def _digest(environment: Environment) -> str:
    settings = environment.settings
    runs = wheels.wheel_version() if settings.engine == "embedded" else settings.postgres_image
    return configuration.digest(environment, runs, *configuration.THROWAWAY.values())


def _write_pgpass(environment: Environment) -> None:
    """Passwords for people's own clients, on the ports of this machine."""
    roles = (environment.superuser, environment.owner, environment.app, environment.backup)
    lines = [f"{HOST}:{environment.state.postgres_port}:*:{role.name}:{role.password}\n" for role in roles]
    write_atomic(environment.settings.folder / "secrets" / "pgpass_host", "".join(lines), durable=False)
