"""An embedded engine by itself: an environment that no task has touched, for tests of what is below them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg

from drydock import ports, redis_client
from drydock.checkout import SUPERUSER, Role
from drydock.engine import POSTGRES, REDIS, process_table
from drydock.engine.embedded import EmbeddedEngine
from drydock.environment import Environment
from drydock.settings import Settings
from drydock.state import State

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

T = TypeVar("T")


SECRETS: dict[str, Any] = {
    "postgres_password": "superuser-secret-1",
    "owner_password": "owner-secret-22",
    "app_password": "app-secret-333",
    "backup_password": "backup-secret-55555",
    "redis_password": "redis-secret-4444",
}


AWKWARD = 'it\'s a "dry" $dock; ü'


# The same environment in another process: started there, or looked at there.
ELSEWHERE = """
import json, sys
from pathlib import Path
from drydock.engine.embedded import EmbeddedEngine
from drydock.environment import Environment
from drydock.settings import Settings
from drydock.state import State
given = json.loads(sys.argv[1])
settings = Settings(root=Path(given["root"]), **given["secrets"])
engine = EmbeddedEngine(Environment(settings, State(**given["state"])))
"""


@dataclass
class Bare:
    """A checkout of its own with the embedded engine, and what was reported to its user."""

    engine: EmbeddedEngine
    reported: list[str] = field(default_factory=list)

    @property
    def environment(self) -> Environment:
        """What the engine was made from."""
        assert isinstance(self.engine.checkout, Environment)
        return self.engine.checkout

    @property
    def volume(self) -> Path:
        """The Postgres data directory."""
        return self.engine.volume(POSTGRES)

    @property
    def log(self) -> str:
        """All that Postgres and its initialisation wrote."""
        return (self.engine.folder / "logs" / "postgres.log").read_text()

    def start(self) -> None:
        """Start the servers, noting what the user is told."""
        self.engine.start(self.reported.append)

    def status(self, service: str = POSTGRES) -> str:
        """What `inspect` says of a service."""
        return self.engine.inspect()[service].status

    def pid(self, service: str = POSTGRES) -> int:
        """The process of a running service."""
        pid = self.engine.servers[service].pid(self.engine.volume(service))
        assert pid
        return pid

    def connect(self, password: str | None = None) -> psycopg.Connection[tuple[object, ...]]:
        """Connect as the superuser as soon as the server lets anybody in."""
        secret = SECRETS["postgres_password"] if password is None else password
        url = self.environment.database_url(Role(SUPERUSER, secret), SUPERUSER)
        return until(lambda: psycopg.connect(url, autocommit=True), lambda: self.status() == "running")

    def ask(self, query: str) -> object:
        """The single value of a query, as the superuser."""
        with self.connect() as connection:
            row = connection.execute(query).fetchone()
            assert row
            return row[0]

    def ask_redis(self, *words: str) -> str:
        """Ask Redis as soon as it listens and has loaded its data."""

        def attempt() -> str:
            with redis_client.connect(self.environment) as redis:
                return redis.ask(*words)

        return until(attempt, lambda: self.status(REDIS) == "running")

    def elsewhere(self, code: str, **options: Any) -> subprocess.Popen[str]:
        """Run `code` on this environment in a process of its own."""
        state = self.environment.state
        given = {"root": str(self.environment.settings.root), "secrets": SECRETS, "state": state.__dict__}
        return subprocess.Popen(
            [sys.executable, "-c", ELSEWHERE + code, json.dumps(given)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            text=True,
            **{"stdout": subprocess.PIPE, **options},
        )


def until(attempt: Callable[[], T], hopeful: Callable[[], bool] = lambda: True, seconds: float = 20) -> T:
    """The first result of `attempt` that is neither false nor a refused connection."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            result = attempt()
            if result:
                return result
        except (ConnectionRefusedError, redis_client.RedisReplyError):
            pass
        except psycopg.OperationalError as error:
            if "password" in str(error):
                raise
        assert hopeful(), "the server ended"
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.02)


def make(root: Path) -> Bare:
    root.mkdir(exist_ok=True)
    (root / "tasks.py").touch()
    postgres = ports.pick(str(root))
    redis = ports.pick(str(root), avoid=[postgres])
    state = State(
        checkout="c0ffee00",
        root=str(root),
        name="drydock-test",
        engine="embedded",
        postgres_port=postgres,
        redis_port=redis,
    )
    environment = Environment(Settings(root=root, **SECRETS), state)
    environment.state_file.prepare()
    return Bare(EmbeddedEngine(environment))


def end(checkout: Bare) -> None:
    """Give the environment up, and see that nothing of it is left running."""
    checkout.engine.destroy()
    assert process_table.inside(checkout.engine.folder) == []
