"""The pool for tasks, on a real server: the same limits, and what is peculiar to event loops."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DataError, OperationalError

from app.db import Database, Events
from app.errors import DatabaseUnavailable, PoolExhausted
from tests.proxy import Proxy
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from tests.app.database import Onlooker

PID = text("SELECT pg_backend_pid()")
T = TypeVar("T")


def run(database: Database, work: Coroutine[Any, Any, T]) -> T:
    """One event loop's life, with an orderly end."""

    async def main() -> T:
        try:
            return await work
        finally:
            await database.close_connections_async(timeout=1)

    return asyncio.run(main())


def test_tasks_share_the_maximum(make_database: Callable[..., Database], onlooker: Onlooker) -> None:
    """Many tasks, few connections: every one is served, and the server never sees more than the maximum."""
    database = make_database(db_pool_max=3)

    async def work(_: int) -> int:
        async with database.async_session() as session:
            return await session.scalar(PID) or 0

    async def main() -> set[int]:
        assert await database.test_connection_async()
        pids = set(await asyncio.gather(*(work(number) for number in range(40))))
        assert len(onlooker.sessions()) <= 3
        assert (database.pool_stats().in_use, database.pool_stats().maximum) == (0, 3)
        return pids

    assert 1 <= len(run(database, main())) <= 3
    eventually(lambda: onlooker.sessions() == [], "the sessions are gone")


def test_exhaustion_and_leaks_name_the_task_s_code(make_database: Callable[..., Database]) -> None:
    """Through SQLAlchemy's greenlet, the place is still that of the coroutine that took the connection."""
    told: list[str] = []
    database = make_database(Events(leak=told.append), db_pool_max=1, db_pool_timeout=0.2, db_leak_after=0.05)

    async def holder() -> str:
        async with database.async_session() as session:
            await session.execute(PID)
            with pytest.raises(PoolExhausted) as caught:
                await database.async_engine.connect()
            database.pool_stats()
            return caught.value.holders[0]

    place = run(database, holder())
    assert "test_async_pool.py:" in place
    assert "holder" in place
    assert len(told) == 1
    assert told[0].endswith("holder")


def test_a_session_commits_or_rolls_back(make_database: Callable[..., Database], onlooker: Onlooker) -> None:
    """A block that ends well is kept; one that raises leaves nothing."""
    onlooker.connection.execute(
        "CREATE TABLE IF NOT EXISTS notes (body text); TRUNCATE notes; GRANT ALL ON notes TO app"
    )
    database = make_database()

    async def main() -> None:
        async with database.async_session() as session:
            await session.execute(text("INSERT INTO notes VALUES ('kept')"))
        with pytest.raises(DataError):
            async with database.async_session() as session:
                await session.execute(
                    text("INSERT INTO notes SELECT 'lost' || 1 / n FROM generate_series(1, 0, -1) AS n")
                )

    run(database, main())
    assert onlooker.rows("SELECT body FROM notes") == ["kept"]


def test_cancelled_tasks_leave_the_pool_whole(make_database: Callable[..., Database], onlooker: Onlooker) -> None:
    """Cancelled in a query or in the queue: the connection and the place in the queue are free again."""
    database = make_database(db_pool_max=1, db_pool_timeout=5)

    async def work() -> None:
        async with database.async_session() as session:
            await session.execute(text("SELECT pg_sleep(30)"))

    async def main() -> None:
        tasks = [asyncio.create_task(work()) for _ in range(3)]
        await asyncio.to_thread(eventually, lambda: database.pool_stats().waiting == 2, "two wait")
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert await database.test_connection_async()
        found = database.pool_stats()
        assert (found.in_use, found.waiting) == (0, 0)

    run(database, main())
    assert onlooker.rows(
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(30)' AND state = 'active'"
    ) == [0]


def test_idle_connections_that_died_are_never_handed_out(
    make_database: Callable[..., Database], onlooker: Onlooker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the server ended every session, tasks get living ones."""
    monkeypatch.setattr("app.db.pool.FRESH", 0)
    database = make_database(db_pool_min=3)

    async def main() -> list[bool]:
        await database.test_connection_async()
        onlooker.terminate()
        return [await database.test_connection_async() for _ in range(6)]

    assert all(run(database, main()))


def test_a_server_that_falls_silent_holds_nobody(
    make_database: Callable[..., Database], app_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the middle of a statement; then all is as before."""
    monkeypatch.setattr("app.db.connection.GRACE", 0.2)
    with Proxy(app_url) as proxy:
        database = make_database(database_url=proxy.url, db_statement_timeout=0.1)

        async def main() -> bool:
            async with database.async_engine.connect() as connection:
                await connection.scalar(PID)
                proxy.pause()
                with pytest.raises(OperationalError, match=r"said nothing for 0\.3 s"):
                    await connection.scalar(PID)
            proxy.resume()
            return await database.test_connection_async()

        assert run(database, main())


def test_a_refused_connection_fails_at_once(make_database: Callable[..., Database]) -> None:
    """Those who wait are told as soon as the server refuses, not at the end of their time."""
    database = make_database(database_url="postgresql://app:x@127.0.0.1:1/app", db_pool_timeout=60)

    async def main() -> list[bool]:
        with pytest.raises(DatabaseUnavailable, match="Connection refused"):
            await database.async_engine.connect()
        return await asyncio.gather(*(database.test_connection_async() for _ in range(5)))

    assert run(database, main()) == [False] * 5


def test_loops_one_after_the_other(make_database: Callable[..., Database]) -> None:
    """A script that calls asyncio.run several times gets a pool for each."""
    database = make_database()
    assert [run(database, database.test_connection_async()) for _ in range(2)] == [True, True]


def test_two_loops_at_once_are_refused(make_database: Callable[..., Database]) -> None:
    """A pool belongs to one loop; the other learns what to do."""
    database = make_database()

    async def main() -> None:
        await database.test_connection_async()

        def elsewhere() -> None:
            with pytest.raises(DatabaseUnavailable, match="another event loop"):
                asyncio.run(database._async_checkout())

        await asyncio.to_thread(elsewhere)

    run(database, main())
