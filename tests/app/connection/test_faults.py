"""A server of the tests' own that is paused, killed and started again, and what the application makes of it."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import TYPE_CHECKING

import psutil
import pytest
from sqlalchemy import text

from app.db import CircuitBreaker, Database, RetryPolicy
from app.db.breaker import BreakerOptions, State
from app.db.retry import judge
from app.errors import CircuitOpen, DatabaseUnavailable
from app.settings import Settings
from tests.checkout import Checkout
from tests.waiting import PATIENCE, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy.ext.asyncio import AsyncSession
    from sqlalchemy.orm import Session

ONCE = RetryPolicy(attempts=2, timeout=1, wait=0.01, jitter=0.01)
ONE = text("SELECT 1")


class Server:
    """A real Postgres that may be mistreated."""

    def __init__(self, checkout: Checkout) -> None:
        self.checkout = checkout
        environment = checkout.environment
        self.url = environment.database_url(environment.app)

    @property
    def processes(self) -> list[psutil.Process]:
        """The postmaster, first, and all it has started."""
        (file,) = self.checkout.root.glob(".drydock/volumes/postgres-*/postmaster.pid")
        postmaster = psutil.Process(int(file.read_text(encoding="utf-8").splitlines()[0]))
        return [postmaster, *postmaster.children(recursive=True)]

    def send(self, number: signal.Signals) -> None:
        """Signal every process of the server."""
        for process in self.processes:
            os.kill(process.pid, number)


@pytest.fixture(scope="module")
def server(embedded_engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Up, for this module only."""
    checkout = Checkout(tmp_path_factory.mktemp("faults") / "shop", ENGINE=embedded_engine)
    checkout.run("up")
    yield Server(checkout)
    checkout.remove()


@pytest.fixture
def open_database(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Database]]:
    """A database whose patience is short, with a breaker that opens after two failures."""
    monkeypatch.setattr("app.db.pool.FRESH", 0)
    monkeypatch.setattr("app.db.pool.ANSWER_WITHIN", 0.3)
    made: list[Database] = []

    def make() -> Database:
        breaker = CircuitBreaker("the database", judge, BreakerOptions(threshold=2, cooldown=0.5))
        settings = Settings(database_url=server.url, db_pool_timeout=1, db_connect_timeout=2)
        made.append(Database(settings, breaker=breaker))
        return made[-1]

    yield make
    for database in made:
        database.close_connections(timeout=1)


def one(session: Session) -> int:
    """Some work."""
    return session.scalar(ONE) or 0


def opens(database: Database) -> None:
    """The database is away: typed errors until the circuit opens, then an immediate one or a degraded answer."""
    for _ in range(2):
        with pytest.raises(DatabaseUnavailable):
            database.run(one, ONCE)
    with pytest.raises(CircuitOpen):
        database.run(one, ONCE)
    assert database.run(one, ONCE, fallback=lambda _: -1) == -1
    assert database.breaker.snapshot().state is State.OPEN


def recovers(database: Database) -> None:
    """The database is back: nobody has to do anything but ask."""
    eventually(lambda: database.run(one, ONCE, fallback=lambda _: -1) == 1, "the database answers again")
    assert database.breaker.snapshot().state is State.CLOSED


def test_a_paused_server(server: Server, open_database: Callable[[], Database]) -> None:
    """SIGSTOP: connections stay open and nothing answers; no caller waits longer than the pool lets it."""
    database = open_database()
    assert database.run(one, ONCE) == 1
    server.send(signal.SIGSTOP)
    try:
        begun = time.monotonic()
        assert database.test_connection() is False
        assert time.monotonic() - begun < 30
        opens(database)
    finally:
        server.send(signal.SIGCONT)
    recovers(database)


def test_a_paused_server_and_tasks(server: Server, open_database: Callable[[], Database]) -> None:
    """The same for tasks, while the event loop goes on serving others."""
    database = open_database()

    async def work(session: AsyncSession) -> int:
        return await session.scalar(ONE) or 0

    async def main() -> None:
        assert await database.run_async(work, ONCE) == 1
        server.send(signal.SIGSTOP)
        try:
            others = asyncio.create_task(asyncio.sleep(0, "served"))
            assert await database.test_connection_async() is False
            assert others.done()
            with pytest.raises(DatabaseUnavailable):
                await database.run_async(work, ONCE)
        finally:
            server.send(signal.SIGCONT)
        deadline = time.monotonic() + PATIENCE
        while await database.run_async(work, ONCE, fallback=lambda _: -1) != 1:
            assert time.monotonic() < deadline
            await asyncio.sleep(database.breaker.snapshot().retry_after)
        await database.close_connections_async()

    asyncio.run(asyncio.wait_for(main(), 60))


def test_a_killed_server_that_comes_back(server: Server, open_database: Callable[[], Database]) -> None:
    """SIGKILL in the middle of a transaction: nothing of it is kept, and the pool reconnects by itself."""
    database = open_database()
    assert database.run(one, ONCE) == 1

    def work(session: Session) -> None:
        session.execute(text("SELECT set_config('app.system_access', 'x', true)"))
        if server.processes:
            server.send(signal.SIGKILL)
        session.execute(ONE)

    with pytest.raises(DatabaseUnavailable):
        database.run(work, RetryPolicy(attempts=1))
    with pytest.raises(DatabaseUnavailable, match="Connection refused"):
        database.run(one, RetryPolicy(attempts=1))
    with pytest.raises(CircuitOpen):
        database.run(one, ONCE)
    server.checkout.run("up")
    recovers(database)
