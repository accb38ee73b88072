"""The database as the application sees it: engines, sessions, figures, and an orderly end.

Nothing connects, and nothing fails, before the first use. One process has one `Database` (`get_database`); a forked
child gets fresh pools and cannot touch its parent's connections.
"""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from contextlib import asynccontextmanager, contextmanager
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import Engine, NullPool, create_engine, event, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, sessionmaker

from app.db import locks, retry, tenancy
from app.db.breaker import CircuitBreaker
from app.db.connection import AsyncPooledConnection, PooledConnection, milliseconds
from app.db.ledger import Events, Ledger, PoolStats
from app.db.pool import AsyncPool, Pool, PoolOptions
from app.db.retry import RetryPolicy
from app.errors import AppError, DatabaseUnavailable
from app.settings import get_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
    from contextlib import AbstractAsyncContextManager, AbstractContextManager

    from sqlalchemy import Connection

    from app.settings import Settings

T = TypeVar("T")
OWNER_POOL = 2
"""Connections of the owner at most: system access is rare, and the server's connections belong to the tenants."""
SHUTDOWN_WAIT = 5.0
URL = "postgresql+psycopg://"
SET_TIMEOUT = "SELECT set_config('statement_timeout', %(timeout)s, true)"


class Database:
    """One database, for threads and for tasks.

    Args:
        settings: where it is, and the limits; `get_settings()` unless given.
        events: whom to tell of a pool that is nearly used up, and of leaks.
        breaker: what `run` goes through, for threads and tasks alike.

    Raises:
        SettingsError: the settings name no database.
    """

    def __init__(
        self, settings: Settings | None = None, events: Events | None = None, breaker: CircuitBreaker | None = None
    ) -> None:
        self.settings = settings or get_settings()
        self.events = events or Events()
        self.breaker = breaker or CircuitBreaker("the database", retry.judge)
        self._application = self.settings.application()
        self._lock = threading.Lock()
        self._pools: dict[str, Pool] = {}
        self._async_pool: AsyncPool | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        _everyone.add(self)

    @cached_property
    def engine(self) -> Engine:
        """For threads: `with database.engine.begin() as connection` runs SQL as it is."""
        return self._engine(lambda: self._pool("threads").checkout())

    @cached_property
    def owner_engine(self) -> Engine:
        """As the owner of the schema, for system access only; settings must have DATABASE_OWNER_URL."""
        self.settings.owner()
        return self._engine(lambda: self._pool("owner").checkout())

    @cached_property
    def async_engine(self) -> AsyncEngine:
        """For tasks."""
        engine = create_async_engine(URL, async_creator=self._async_checkout, **self._options)
        self._listen(engine.sync_engine)
        return engine

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A session in a transaction of its own: committed at the end of the block, rolled back on an error."""
        with self._sessions.begin() as session:
            yield session

    @contextmanager
    def owner_session(self) -> Iterator[Session]:
        """The same as the owner: only `with system_access("why"):` sees anything through it."""
        with self._owner_sessions.begin() as session:
            yield session

    @asynccontextmanager
    async def async_session(self) -> AsyncIterator[AsyncSession]:
        """The same for tasks."""
        async with self._async_sessions.begin() as session:
            yield session

    def run(
        self,
        work: Callable[[Session], T],
        policy: RetryPolicy | None = None,
        fallback: Callable[[Exception], T] | None = None,
    ) -> T:
        """Do work in a transaction of its own, again as a whole where that is safe, behind the circuit breaker.

        Args:
            work: gets the session and does nothing else than work on it, for it may be called several times.
            policy: how often and for how long.
            fallback: makes a degraded answer, from the error, while the database is away.

        Raises:
            CircuitOpen: the database failed too often just now.
            OutcomeUnknown: the connection was lost during the commit, and the policy does not say idempotent.
            DatabaseUnavailable: the server was not there, at any attempt.
            PoolExhausted: no connection was free.
        """
        return self.breaker.call(lambda: retry.run(self._sessions, work, policy or RetryPolicy()), fallback)

    async def run_async(
        self,
        work: Callable[[AsyncSession], Awaitable[T]],
        policy: RetryPolicy | None = None,
        fallback: Callable[[Exception], T] | None = None,
    ) -> T:
        """The same for tasks."""
        sessions, how = self._async_sessions, policy or RetryPolicy()
        return await self.breaker.call_async(lambda: retry.run_async(sessions, work, how), fallback)

    def advisory_lock(self, name: str, wait: float = 0.0) -> AbstractContextManager[None]:
        """Let one process at a time do what the name says: held for the block, past any pooler; see `app.db.locks`.

        Raises:
            LockTaken: another session held it for all of `wait` seconds.
        """
        return locks.advisory_lock(self._limits(self.settings.direct()), name, wait)

    def advisory_lock_async(self, name: str, wait: float = 0.0) -> AbstractAsyncContextManager[None]:
        """The same for tasks."""
        return locks.advisory_lock_async(self._limits(self.settings.direct()), name, wait)

    def test_connection(self) -> bool:
        """Whether a query comes back from the right database; false, never an error, where it does not.

        Takes as long as a checkout may (DB_POOL_TIMEOUT) and a statement (DB_STATEMENT_TIMEOUT), at most.
        """
        try:
            with self.engine.connect() as connection:
                return bool(connection.scalar(text("SELECT current_database()")) == self._expected)
        except (AppError, SQLAlchemyError):
            return False

    async def test_connection_async(self) -> bool:
        """The same for tasks."""
        try:
            async with self.async_engine.connect() as connection:
                return bool(await connection.scalar(text("SELECT current_database()")) == self._expected)
        except (AppError, SQLAlchemyError):
            return False

    def pool_stats(self) -> PoolStats:
        """Figures of the application's connections in this process; before the first one, the limits and zeros."""
        open_pools = [pool for pool in (self._pools.get("threads"), self._async_pool) if pool is not None]
        if not open_pools:
            return PoolStats(minimum=self.settings.pool_min, maximum=self.settings.pool_max)
        return sum((pool.stats() for pool in open_pools), PoolStats())

    def close_connections(self, timeout: float = SHUTDOWN_WAIT) -> None:
        """Graceful shutdown: hand out nothing more, wait `timeout` seconds for what is out, then close.

        Tasks' connections are closed by `close_connections_async`, from the loop they belong to.
        """
        for pool in list(self._pools.values()):
            pool.close(timeout)

    async def close_connections_async(self, timeout: float = SHUTDOWN_WAIT) -> None:  # noqa: ASYNC109 - as above
        """The same for the connections of tasks and of threads; call it before the event loop ends.

        A worker of psycopg_pool that is just connecting takes the loop's cancellation for an error of its own and goes
        on, so that `asyncio.run` would wait for it for ever. The next loop gets a new pool.
        """
        if self._async_pool is not None:
            await self._async_pool.close(timeout)
        await asyncio.to_thread(self.close_connections, timeout)

    @cached_property
    def _sessions(self) -> sessionmaker[Session]:
        return sessionmaker(self.engine, expire_on_commit=False)

    @cached_property
    def _owner_sessions(self) -> sessionmaker[Session]:
        return sessionmaker(self.owner_engine, expire_on_commit=False)

    @cached_property
    def _async_sessions(self) -> async_sessionmaker[AsyncSession]:
        return async_sessionmaker(self.async_engine, expire_on_commit=False)

    @property
    def _options(self) -> dict[str, Any]:
        return {
            "poolclass": NullPool,
            "echo": self.settings.db_echo,
            # Errors repeat statements, and a statement's parameters are somebody's data.
            "hide_parameters": self.settings.app_env != "development",
            # Else it is looked up in the catalogue, and this schema does not have it.
            "use_native_hstore": False,
            # The pool below rolls back what comes back in a transaction; once is enough.
            "pool_reset_on_return": None,
        }

    @property
    def _expected(self) -> str:
        return str(self._application["dbname"])

    def _engine(self, checkout: Callable[[], PooledConnection]) -> Engine:
        engine = create_engine(URL, creator=checkout, **self._options)
        self._listen(engine)
        return engine

    def _listen(self, engine: Engine) -> None:
        tenancy.install(engine)
        timeout = {"timeout": milliseconds(self.settings.db_statement_timeout)}

        def limit(connection: Connection) -> None:
            """Behind a pooler the timeout lives as long as a transaction: the session is somebody else's next."""
            driver: Any = connection.connection.driver_connection
            if driver.pooled and not driver.autocommit:
                connection.exec_driver_sql(SET_TIMEOUT, timeout)

        # After tenancy's listener, which begins the transaction.
        event.listen(engine, "begin", limit)

    def _pool(self, name: str) -> Pool:
        pool = self._pools.get(name)
        if pool is None:
            with self._lock:
                pool = self._pools.get(name) or Pool(*self._books(name))
                self._pools[name] = pool
        return pool

    async def _async_checkout(self) -> AsyncPooledConnection:
        loop = asyncio.get_running_loop()
        if self._async_pool is None or (self._loop is not loop and self._loop_has_ended()):
            self._async_pool, self._loop = AsyncPool(*self._books("tasks")), loop
        elif self._loop is not loop:
            raise DatabaseUnavailable(
                "This Database serves another event loop that still runs: give each loop a Database of its own."
            )
        return await self._async_pool.checkout()

    def _loop_has_ended(self) -> bool:
        return self._loop is None or self._loop.is_closed()

    def _books(self, name: str) -> tuple[PoolOptions, Ledger]:
        settings, owner = self.settings, name == "owner"
        parameters = settings.owner() if owner else self._application
        maximum = min(OWNER_POOL, settings.pool_max) if owner else settings.pool_max
        options = PoolOptions(
            name=f"the pool for {name}",
            parameters=self._limits(parameters),
            minimum=0 if owner else settings.pool_min,
            maximum=maximum,
            timeout=settings.db_pool_timeout,
            idle=settings.db_idle_timeout,
            lifetime=settings.db_max_lifetime,
            statement_timeout=settings.db_statement_timeout,
            prepare=settings.db_prepare,
        )
        return options, Ledger(maximum, settings.db_pool_warn_at, settings.db_leak_after, self.events)

    def _limits(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """A dead network is noticed too: by keepalives when idle, by unacknowledged data when not (Linux)."""
        defaults = {
            "connect_timeout": round(self.settings.db_connect_timeout),
            "fallback_application_name": "app",
            "keepalives_idle": 30,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 45_000,
        }
        return {**defaults, **parameters}

    def _after_fork(self) -> None:
        inherited: list[Pool | AsyncPool] = [*self._pools.values(), *([self._async_pool] if self._async_pool else [])]
        for pool in inherited:
            pool.let_go()
        # Their destructors would wait for threads that this process does not have.
        _inherited.extend(inherited)
        self._lock, self._pools, self._async_pool, self._loop = threading.Lock(), {}, None, None


@cache
def get_database() -> Database:
    """The one database of this process, by its settings."""
    return Database()


_everyone: weakref.WeakSet[Database] = weakref.WeakSet()
_inherited: list[Pool | AsyncPool] = []


def _let_go_of_everything() -> None:
    for database in list(_everyone):
        database._after_fork()  # noqa: SLF001


os.register_at_fork(after_in_child=_let_go_of_everything)
