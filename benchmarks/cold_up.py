"""A cold `up`: from no server and empty volumes to ready, migrated and seeded, on each engine."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import psutil

from benchmarks.measure import Limit, Row, interleave, run, seconds
from benchmarks.stage import Declaration, checkout
from drydock import ports
from drydock.checkout import HOST
from drydock.engine import cluster
from drydock.engine.processes import unprivileged
from drydock.engine.wheels import program

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.checkout import Checkout

ROUNDS = 5
SCRIPT = Path(__file__).with_name("floor_up.py")
POLL = 0.02  # seconds between looks at a server that is to end


@dataclass(frozen=True)
class Floor:
    """The bare way to the same state.

    Attributes:
        job: what floor_up.py is told.
        variables: of its process environment.
        clear: takes the server and its data away, whether it runs or not.
    """

    job: dict[str, Any]
    variables: dict[str, str]
    clear: Callable[[], object]


def measure(rounds: int = ROUNDS) -> list[Row]:
    """`invoke up` on empty volumes against the floor of either engine."""
    return [
        _row("docker", "`docker compose up -d`, poll, alembic, seed", _containers, rounds, Limit(1.3)),
        _row("embedded", "`initdb`, `postgres`, poll, alembic, seed", _processes, rounds),
    ]


def _row(
    engine: str, against: str, floor: Callable[[Checkout, Path], Floor], rounds: int, limit: Limit | None = None
) -> Row:
    with checkout(engine) as dock, _bare(dock, floor) as theirs:

        def ours() -> float:
            took = seconds(lambda: dock.run("up"))
            dock.run("destroy", "--yes")
            return took

        dock.run("destroy", "--yes")
        # The first of each compiles Python and fills the page cache.
        interleave(1, ours, theirs)
        ups, floors = interleave(rounds, ours, theirs)
    return Row(f"cold `invoke up`, {engine}", against, ups, floors, limit)


@contextmanager
def _bare(dock: Checkout, prepare: Callable[[Checkout, Path], Floor]) -> Iterator[Callable[[], float]]:
    """The floor as a side to measure: in a folder of its own, with the checkout's sources."""
    folder = dock.root.with_name("floor")
    shutil.copytree(dock.root, folder, ignore=shutil.ignore_patterns("volumes"))
    floor = prepare(dock, folder)
    environ = dock.environ | floor.variables | {"PYTHONPATH": str(folder / "src")}

    def take() -> float:
        took = seconds(lambda: run([sys.executable, str(SCRIPT), json.dumps(floor.job)], folder, environ))
        floor.clear()
        return took

    try:
        yield take
    finally:
        floor.clear()


def _containers(dock: Checkout, folder: Path) -> Floor:
    """The same compose declaration as a project of its own: other names, ports and volumes, the same images."""
    declaration, state = Declaration.of(dock), dock.environment.state
    port = ports.pick(f"{state.checkout} floor")
    name = f"{state.name}-floor"
    declaration.variables |= {
        "DRYDOCK_NAME": name,
        "DRYDOCK_CHECKOUT": f"{state.checkout}-floor",
        "DRYDOCK_ROOT": str(folder),
        "DRYDOCK_FOLDER": str(folder / ".drydock"),
        "DRYDOCK_POSTGRES_PORT": str(port),
        "DRYDOCK_REDIS_PORT": str(ports.pick(f"{state.checkout} floor's Redis", avoid=[port])),
        "DRYDOCK_POSTGRES_VOLUME": f"{name}-postgres",
        "DRYDOCK_REDIS_VOLUME": f"{name}-redis",
    }
    job = {**_job(dock, port), "run": [declaration.command("up", "--detach")]}
    return Floor(job, declaration.variables, lambda: declaration.compose("down", "--volumes", "--timeout", "1"))


def _processes(dock: Checkout, folder: Path) -> Floor:
    """The same programs with the same options and configuration, without Redis."""
    settings, data = dock.environment.settings, folder / "data"
    port = ports.pick(f"{dock.environment.state.checkout} floor")
    password = settings.folder / "secrets" / "postgres_password"
    initdb = [str(program("initdb")), f"--pgdata={data}", f"--pwfile={password}", *cluster.INITDB]
    server = cluster.command(settings, data, f"listen_addresses={HOST}", f"port={port}", "unix_socket_directories=")
    job = {**_job(dock, port), "run": [[*unprivileged(), *initdb]], "leave": [*unprivileged(), *server]}
    return Floor(job, {}, lambda: _end(data))


def _job(dock: Checkout, port: int) -> dict[str, Any]:
    """Where the floor's server answers, and what it is seeded with: the plainest way is its superuser and database."""
    superuser, settings = dock.environment.superuser, dock.environment.settings
    url = f"postgresql://{superuser.name}:{quote(superuser.password, safe='')}@{HOST}:{port}/postgres"
    return {"url": url, "size": settings.seed_size}


def _end(data: Path) -> None:
    """End the server of a data folder at once, as SIGQUIT does, and remove the folder."""
    pid_file = data / cluster.PID_FILE
    if pid_file.exists():
        pid = int(pid_file.read_text(encoding="utf-8").split()[0])
        os.kill(pid, signal.SIGQUIT)
        with suppress(psutil.NoSuchProcess):
            while psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                time.sleep(POLL)
    shutil.rmtree(data, ignore_errors=True)
