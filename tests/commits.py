"""A server under commits that is killed, and which of them the archive has: read from its files alone."""

from __future__ import annotations

import contextlib
import io
import os
import re
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

from drydock import postgres
from drydock.backup import packing
from drydock.engine import ARCHIVER, POSTGRES
from drydock.engine.process_table import inside
from drydock.recovery.archive.folders import part_folder
from drydock.recovery.bases import base
from drydock.recovery.upkeep import attendant
from drydock.recovery.wal.positions import NAME, Segment, parse_lsn, segment_at

if TYPE_CHECKING:
    from drydock.environment import Environment
    from tests.checkout import Checkout

COMMIT = re.compile(rb"tx: +(\d+), .*desc: COMMIT")


def lost(checkout: Checkout, commits: int, *, everything: bool, by_kernel: bool = False) -> tuple[int, int]:
    """Kill Postgres amid single-row commits, and count those that were acknowledged and those of them not archived.

    These must be the last ones: an archive may be late, and has no holes.

    Args:
        checkout: up, with its archive.
        commits: how many there are to be before the kill.
        everything: whether the archiver is killed with it.
        by_kernel: see `kill`.
    """
    environment = checkout.environment
    settle(environment)
    with postgres.administer(environment, environment.settings.database) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS ledger (n bigint GENERATED ALWAYS AS IDENTITY, noted text)")
        row = connection.execute("SELECT pg_current_wal_lsn()::text").fetchone()
    assert row is not None
    acknowledged: list[int] = []
    writer = threading.Thread(target=_write, args=(environment, acknowledged))
    writer.start()
    while len(acknowledged) < commits and writer.is_alive():
        time.sleep(0.001)
    kill(environment, everything=everything, by_kernel=by_kernel)
    writer.join()
    _let_it_finish(environment)
    found = archived(environment, segment_at(1, parse_lsn(str(row[0]))))
    missing = [xid for xid in acknowledged if xid not in found]
    assert missing == acknowledged[len(acknowledged) - len(missing) :], "one is lost before another that is there"
    return len(acknowledged), len(missing)


def kill(environment: Environment, *, everything: bool, by_kernel: bool = False) -> None:
    """SIGKILL for Postgres with all its processes, as the kernel gives it where memory is short; nothing comes back.

    Args:
        environment: its engine.
        everything: the archiver as well.
        by_kernel: kill(2) of a container's first process, and not `docker kill`, which starts programs that take the
            processors for some milliseconds before; asks for root, and a Docker engine on this machine.
    """
    engine = environment.engine
    services = (POSTGRES, ARCHIVER) if everything else (POSTGRES,)
    if environment.state.engine == "docker":
        # One call for each: given both, the Docker CLI kills them in any order, some milliseconds apart.
        containers = [engine.containers(service)[0] for service in services]  # type: ignore[attr-defined]
        pids = [container.client.api.inspect_container(container.id)["State"]["Pid"] for container in containers]
        for container, pid in zip(containers, pids, strict=True):
            if by_kernel:
                os.kill(pid, signal.SIGKILL)
            else:
                container.kill()
        return
    folders = [engine.volume(POSTGRES), part_folder(environment)]  # type: ignore[attr-defined]
    for pid in [pid for folder in folders[: len(services)] for pid in inside(folder)]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def archived(environment: Environment, first: Segment) -> set[int]:
    """The transactions whose commit is in the archive, from a segment on."""
    return {int(number) for number in COMMIT.findall(records(environment, first))}


def records(environment: Environment, first: Segment) -> bytes:
    """A line for each record in the archive, from a segment on: as far as they can be read."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for path in part_folder(environment).glob("0*"):
            plain = path.name[:24]
            if NAME.fullmatch(plain) and plain >= first.name:
                (folder / plain).write_bytes(content(path))
        ends = [first.name, max(path.name for path in folder.iterdir())]
        reading = environment.engine.tool("pg_waldump", ends, folder=folder, stdout=subprocess.PIPE)
        told, _ = reading.communicate()
    return told


def content(path: Path) -> bytes:
    """What is in a segment's file, also where it is finished or sealed just now."""
    for name in (path.name, path.name.removesuffix(".partial"), f"{path.name.removesuffix('.partial')}.zst"):
        with contextlib.suppress(FileNotFoundError):
            found = io.BytesIO(path.with_name(name).read_bytes())
            if name.endswith(".zst"):
                packing.measure(path.with_name(name), found := io.BytesIO())
            return found.getvalue()
    raise FileNotFoundError(path)


def settle(environment: Environment) -> None:
    """The attendant of the first `up` removes what lies before the base backup that it takes: let it."""
    archive, deadline = base.archive_of(environment), time.monotonic() + 120
    while not base.bases(archive) or (doing := attendant.look(environment.settings)) is None or doing.working:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _write(environment: Environment, acknowledged: list[int]) -> None:
    """One row a transaction, each noted once the server has acknowledged its commit."""
    statement = "INSERT INTO ledger (noted) VALUES ('kept') RETURNING pg_current_xact_id()::text"
    url = environment.database_url(environment.superuser)
    with (
        contextlib.suppress(psycopg.OperationalError),
        psycopg.connect(url, autocommit=True) as connection,
    ):
        while True:
            row = connection.execute(statement).fetchone()
            assert row is not None
            acknowledged.append(int(row[0]))


def _let_it_finish(environment: Environment) -> None:
    """An archiver that lives on notices that the server is gone when it has taken what was under way."""
    newest = -1.0
    while newest != (newest := max(path.stat().st_mtime for path in part_folder(environment).glob("0*"))):
        time.sleep(0.3)
