"""A checkout of the application's pool against a bare psycopg_pool that does the same two statements.

What stands between: SQLAlchemy's engine, the tenant's context and its checks, the pool's books (figures, leaks) and
the statement's compilation cache. Both sides work on the same server, in one process and one thread, and the floor
gets what psycopg gives by itself: statements prepared after their fifth use, a transaction by `with`.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING
from uuid import uuid4

import psycopg
from psycopg_pool import ConnectionPool
from sqlalchemy import text

from app.db import Database, tenant_context
from app.settings import Settings
from benchmarks.measure import Limit, Row, interleave, seconds
from benchmarks.stage import checkout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.measure import Take

ROUNDS = 40
TIMES = 200
"""Checkouts in one round: many enough for the clock, few enough that the sides stay neighbours in time."""
SIZE = 4
ONE = text("SELECT 1")
SET_TENANT = "SELECT set_config('app.tenant_id', %s, true)"
AGAINST = "bare psycopg_pool: `set_config`, `SELECT 1`"


def measure(rounds: int = ROUNDS) -> list[Row]:
    """Seconds for 200 times checkout, tenant, `SELECT 1` and return; and what a connection costs without any pool."""
    with ExitStack() as stack:
        dock = stack.enter_context(checkout("embedded"))
        url = dock.environment.database_url(dock.environment.app)
        floor = stack.enter_context(ConnectionPool(url, min_size=SIZE, max_size=SIZE, open=True))
        floor.wait()
        database = stack.enter_context(_opened(url))
        sides = (_engine(database), _session(database), _bare(floor))
        interleave(3, *sides)
        engine, session, bare = interleave(rounds, *sides)
        # By themselves: server processes that are still ending would take time from the side after them.
        connect, again = interleave(max(1, rounds // 8), _connect(url), _bare(floor))
    what = f"{TIMES} times checkout, tenant, `SELECT 1`, return"
    return [
        Row(f"{what}: `engine.begin()`", AGAINST, engine, bare, Limit(1.5)),
        Row(f"{what}: `database.session()`", AGAINST, session, bare),
        Row(f"{what}: a new connection each time", AGAINST, connect, again),
    ]


@contextmanager
def _opened(url: str) -> Iterator[Database]:
    database = Database(Settings(database_url=url, db_pool_min=SIZE, db_pool_max=SIZE))
    database.test_connection()
    yield database
    database.close_connections()


def _timed(work: Callable[[], None], times: int = TIMES) -> Take:
    def take() -> None:
        for _ in range(times):
            work()

    return lambda: seconds(take) * TIMES / times


def _engine(database: Database) -> Take:
    tenant = uuid4()

    def once() -> None:
        with tenant_context(tenant), database.engine.begin() as connection:
            connection.execute(ONE)

    return _timed(once)


def _session(database: Database) -> Take:
    tenant = uuid4()

    def once() -> None:
        with tenant_context(tenant), database.session() as session:
            session.execute(ONE)

    return _timed(once)


def _bare(pool: ConnectionPool) -> Take:
    tenant = str(uuid4())

    def once() -> None:
        with pool.connection() as connection:
            connection.execute(SET_TENANT, (tenant,))
            connection.execute("SELECT 1")

    return _timed(once)


def _connect(url: str) -> Take:
    tenant = str(uuid4())

    def once() -> None:
        with psycopg.connect(url) as connection:
            connection.execute(SET_TENANT, (tenant,))
            connection.execute("SELECT 1")

    # Dear: a tenth of the times is enough.
    return _timed(once, TIMES // 10)
