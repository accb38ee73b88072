"""The same code through PgBouncer in transaction mode: more clients than server connections, nothing left behind."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from app.db import Database, tenant_context
from app.errors import LockTaken, SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.app.database import Onlooker
    from tests.app.pgbouncer import PgBouncer

TENANTS = 4
MINE = text("SELECT id FROM organizations")
WORKERS, READS = 8, 25


@pytest.fixture
def pooled(make_database: Callable[..., Database], pgbouncer: PgBouncer, app_url: str) -> Database:
    """As with a managed Postgres: a pooled URL and a direct one."""
    return make_database(database_url=pgbouncer.url(app_url), database_direct_url=app_url, db_pool_max=WORKERS)


@pytest.fixture
def tenants(onlooker: Onlooker) -> list[UUID]:
    """Organizations with a row each."""
    made = [uuid4() for _ in range(TENANTS)]
    onlooker.connection.execute("DELETE FROM organizations")
    for tenant in made:
        values = (tenant, f"t-{tenant.hex}", "T")
        onlooker.connection.execute("INSERT INTO organizations (id, slug, name) VALUES (%s, %s, %s)", values)
    return made


def driver(connection: Any) -> Any:
    """The psycopg connection below SQLAlchemy's."""
    return connection.connection.driver_connection


def test_a_pooler_is_noticed(pooled: Database, make_database: Callable[..., Database]) -> None:
    """By URL alone: nothing is prepared behind a transaction pooler, and all is as usual without one."""
    with pooled.engine.connect() as connection:
        assert (driver(connection).pooled, driver(connection).prepare_threshold) == (True, None)
    with make_database().engine.connect() as connection:
        assert (driver(connection).pooled, driver(connection).prepare_threshold) == (False, 5)


def test_statements_may_be_repeated(pooled: Database) -> None:
    """Far more than the five uses after which psycopg prepares, on sessions that change hands."""

    def work(number: int) -> int:
        total = 0
        for _ in range(20):
            with pooled.engine.begin() as connection:
                total += connection.scalar(text("SELECT CAST(:n AS int)"), {"n": number}) or 0
        return total

    with ThreadPoolExecutor(WORKERS) as threads:
        assert list(threads.map(work, range(WORKERS))) == [20 * number for number in range(WORKERS)]


def test_tenants_stay_apart_in_threads(pooled: Database, tenants: list[UUID], onlooker: Onlooker) -> None:
    """Two server connections under eight threads of four tenants and of nobody: each sees its own rows only."""
    leaks: list[object] = []

    def work(number: int) -> int:
        tenant = tenants[number % TENANTS]
        for _ in range(READS):
            with tenant_context(tenant), pooled.engine.begin() as connection:
                leaks.extend({*connection.scalars(MINE)} ^ {tenant})
            with pooled.engine.begin() as connection:
                leaks.extend(connection.scalars(MINE))
        return 2 * READS

    with ThreadPoolExecutor(WORKERS) as threads:
        attempts = sum(threads.map(work, range(WORKERS)))
    assert (attempts, leaks) == (2 * WORKERS * READS, [])
    assert len(onlooker.sessions()) <= 2


def test_no_tenant_is_left_on_a_session(
    pooled: Database, tenants: list[UUID], pgbouncer: PgBouncer, app_url: str
) -> None:
    """Clients that know nothing of tenants get the very sessions that tenants had, and nothing with them."""
    had, found = set(), set()
    for tenant in tenants:
        with tenant_context(tenant), pooled.engine.begin() as connection:
            had.add(connection.scalar(text("SELECT pg_backend_pid()")))
    url = pgbouncer.url(app_url)
    # Both in a transaction at once: between them they have every session there is.
    with psycopg.connect(url, prepare_threshold=None) as one, psycopg.connect(url, prepare_threshold=None) as two:
        for stranger in (one, two):
            pid, rows = stranger.execute("SELECT pg_backend_pid(), count(*) FROM organizations").fetchone() or ()
            found.add(pid)
            assert rows == 0
    assert had <= found


def test_tenants_stay_apart_in_tasks(pooled: Database, tenants: list[UUID]) -> None:
    """The same with tasks that share one loop and switch at every query."""
    leaks: list[object] = []

    async def work(number: int) -> int:
        tenant = tenants[number % TENANTS]
        for _ in range(READS):
            with tenant_context(tenant):
                async with pooled.async_engine.begin() as connection:
                    leaks.extend({*await connection.scalars(MINE)} ^ {tenant})
            async with pooled.async_engine.begin() as connection:
                leaks.extend(await connection.scalars(MINE))
        return 2 * READS

    async def main() -> int:
        attempts = sum(await asyncio.gather(*(work(number) for number in range(WORKERS))))
        await pooled.close_connections_async()
        return attempts

    assert (asyncio.run(main()), leaks) == (2 * WORKERS * READS, [])


def test_the_statement_timeout_holds_and_stays_ours(
    make_database: Callable[..., Database], pgbouncer: PgBouncer, app_url: str
) -> None:
    """It ends a long statement of ours, and is not left on the session for whoever comes next."""
    database = make_database(database_url=pgbouncer.url(app_url), db_statement_timeout=0.2)
    with database.engine.begin() as connection:
        assert connection.scalar(text("SHOW statement_timeout")) == "200ms"
        with pytest.raises(OperationalError, match="statement timeout"):
            connection.scalar(text("SELECT pg_sleep(10)"))
    with psycopg.connect(pgbouncer.url(app_url), prepare_threshold=None) as stranger:
        assert stranger.execute("SHOW statement_timeout").fetchone() == ("0",)


def test_advisory_locks_go_past_the_pooler(pooled: Database, onlooker: Onlooker) -> None:
    """Held by a session of its own for as long as the block, whatever the pooler does; freed at its end."""
    with pooled.advisory_lock("nightly report"):
        assert pooled.test_connection()
        with (
            pytest.raises(LockTaken, match=r"'nightly report' for the 0\.1 s"),
            pooled.advisory_lock("nightly report", 0.1),
        ):
            pytest.fail("two hold it")
        with pooled.advisory_lock("another"):
            pass
    assert onlooker.rows("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == [0]
    with pooled.advisory_lock("nightly report"):
        pass


def test_advisory_locks_of_tasks(pooled: Database) -> None:
    """The same lock keeps tasks and threads apart."""

    async def main() -> None:
        async with pooled.advisory_lock_async("nightly report"):
            with pytest.raises(LockTaken), pooled.advisory_lock("nightly report"):
                pytest.fail("two hold it")

    asyncio.run(main())


def test_an_advisory_lock_through_the_pooler_is_refused(
    make_database: Callable[..., Database], pgbouncer: PgBouncer, app_url: str
) -> None:
    """Without a direct URL the lock would be taken in a session that nobody keeps."""
    database = make_database(database_url=pgbouncer.url(app_url))
    with pytest.raises(SettingsError, match="DATABASE_DIRECT_URL"), database.advisory_lock("nightly report"):
        pytest.fail("taken through the pooler")
