"""Repeating work: conflicts and outages provoked on a real server, and what is never repeated."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import psycopg
import pytest
import stamina
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

from app.db import CircuitBreaker, Database, RetryPolicy
from app.db.breaker import BreakerOptions, State
from app.db.retry import is_unavailable, judge, sqlstate
from app.errors import CircuitOpen, DatabaseUnavailable, OutcomeUnknown, PoolExhausted
from tests.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy.ext.asyncio import AsyncSession
    from sqlalchemy.orm import Session

    from tests.app.database import Onlooker

QUICK = RetryPolicy(attempts=4, timeout=10, wait=0.01, wait_max=0.05, jitter=0.01)


@pytest.fixture(autouse=True)
def accounts(onlooker: Onlooker) -> None:
    """Two rows to quarrel over."""
    onlooker.connection.execute("DROP TABLE IF EXISTS accounts")
    onlooker.connection.execute("CREATE TABLE accounts (id int PRIMARY KEY, balance int NOT NULL)")
    onlooker.connection.execute("INSERT INTO accounts VALUES (1, 100), (2, 100); GRANT ALL ON accounts TO app")


@pytest.fixture
def proxy(app_url: str) -> Iterator[Proxy]:
    """A way to the server that can be cut."""
    with Proxy(app_url) as proxy:
        yield proxy


def move(session: Session, source: int, target: int, meet: Callable[[], object] = lambda: None) -> None:
    """Take one from an account and give it to another."""
    session.execute(text("UPDATE accounts SET balance = balance - 1 WHERE id = :id"), {"id": source})
    meet()
    session.execute(text("UPDATE accounts SET balance = balance + 1 WHERE id = :id"), {"id": target})


def test_a_deadlock_is_repeated(make_database: Callable[..., Database], onlooker: Onlooker) -> None:
    """Two transactions that lock two rows crosswise: the server kills one, which is done again as a whole."""
    database = make_database()
    barrier, attempts = threading.Barrier(2), []

    def work(first: int, second: int) -> None:
        def attempt(session: Session) -> None:
            attempts.append(first)
            move(session, first, second, (lambda: barrier.wait(10)) if attempts.count(first) == 1 else lambda: None)

        database.run(attempt, QUICK)

    with ThreadPoolExecutor(2) as threads:
        for future in (threads.submit(work, 1, 2), threads.submit(work, 2, 1)):
            future.result(30)
    assert len(attempts) == 3
    assert onlooker.rows("SELECT balance FROM accounts ORDER BY id") == [100, 100]


def test_a_serialization_failure_is_repeated(make_database: Callable[..., Database], onlooker: Onlooker) -> None:
    """A transaction that read what another has changed since is done again and sees the change."""
    database, seen = make_database(), []

    def work(session: Session) -> None:
        session.connection(execution_options={"isolation_level": "SERIALIZABLE"})
        seen.append(session.scalar(text("SELECT balance FROM accounts WHERE id = 1")))
        if len(seen) == 1:
            onlooker.connection.execute("UPDATE accounts SET balance = 50 WHERE id = 1")
        session.execute(text("UPDATE accounts SET balance = :value WHERE id = 1"), {"value": (seen[-1] or 0) + 1})

    database.run(work, QUICK)
    assert seen == [100, 50]
    assert onlooker.rows("SELECT balance FROM accounts WHERE id = 1") == [51]


def test_a_session_that_was_ended_is_repeated(make_database: Callable[..., Database], onlooker: Onlooker) -> None:
    """What a lost connection had done was rolled back; the next attempt has a new connection."""
    database, calls = make_database(), []

    def work(session: Session) -> None:
        calls.append(1)
        move(session, 1, 2, onlooker.terminate if len(calls) == 1 else lambda: None)

    database.run(work, QUICK)
    assert len(calls) == 2
    assert onlooker.rows("SELECT balance FROM accounts ORDER BY id") == [99, 101]


def test_the_same_for_tasks(make_database: Callable[..., Database], onlooker: Onlooker) -> None:
    """Async work is repeated after a lost connection, too."""
    database, calls = make_database(), []

    async def work(session: AsyncSession) -> int:
        calls.append(1)
        await session.execute(text("UPDATE accounts SET balance = balance - 1 WHERE id = 1"))
        if len(calls) == 1:
            onlooker.terminate()
        return await session.scalar(text("SELECT balance FROM accounts WHERE id = 1")) or 0

    async def main() -> int:
        result = await database.run_async(work, QUICK)
        await database.close_connections_async()
        return result

    assert asyncio.run(main()) == 99
    assert len(calls) == 2


def test_other_errors_are_not_repeated(make_database: Callable[..., Database]) -> None:
    """A violated constraint is the caller's: one attempt, the error as it is."""
    calls: list[int] = []

    def work(session: Session) -> None:
        calls.append(1)
        session.execute(text("INSERT INTO accounts VALUES (1, 1)"))

    with pytest.raises(IntegrityError):
        make_database().run(work, QUICK)
    assert len(calls) == 1


def test_attempts_have_an_end(make_database: Callable[..., Database]) -> None:
    """A server that is not there is tried as often as the policy says, and told in the application's own terms."""
    database, calls = make_database(database_url="postgresql://app:x@127.0.0.1:1/app"), []

    def work(session: Session) -> None:
        calls.append(1)
        session.execute(text("SELECT 1"))

    with pytest.raises(DatabaseUnavailable, match="Connection refused"):
        database.run(work, QUICK)
    assert len(calls) == 4


def test_time_has_an_end_too(make_database: Callable[..., Database]) -> None:
    """No attempt begins after the policy's total time, however many there might be."""
    database, calls = make_database(database_url="postgresql://app:x@127.0.0.1:1/app"), []

    def work(session: Session) -> None:
        calls.append(1)
        session.execute(text("SELECT 1"))

    with pytest.raises(DatabaseUnavailable):
        database.run(work, RetryPolicy(attempts=10_000, timeout=0.2, wait=0.05, wait_max=0.05, jitter=0))
    assert 2 <= len(calls) <= 5


def test_waits_double_and_vary(make_database: Callable[..., Database]) -> None:
    """Exponential backoff up to a maximum, with jitter on top."""
    database = make_database(database_url="postgresql://app:x@127.0.0.1:1/app")
    waits: list[float] = []
    stamina.instrumentation.set_on_retry_hooks([lambda details: waits.append(details.wait_for)])
    try:
        with pytest.raises(DatabaseUnavailable):
            database.run(
                lambda session: session.execute(text("SELECT 1")),
                RetryPolicy(attempts=6, wait=0.01, wait_max=0.1, jitter=0.01),
            )
    finally:
        stamina.instrumentation.set_on_retry_hooks(None)
    least = [0.01, 0.02, 0.04, 0.08, 0.1]
    rounding = 1e-9
    assert all(low - rounding <= wait <= low + 0.01 + rounding for low, wait in zip(least, waits, strict=True)), waits
    assert waits[:4] != least[:4]


@pytest.mark.parametrize(("idempotent", "calls"), [(False, 1), (True, 2)])
def test_a_commit_without_an_answer_is_repeated_only_if_that_does_no_harm(
    make_database: Callable[..., Database], proxy: Proxy, onlooker: Onlooker, calls: int, *, idempotent: bool
) -> None:
    """The connection is cut between the work and the server's answer to COMMIT: it may have happened."""
    database, made = make_database(database_url=proxy.url), []
    policy = RetryPolicy(attempts=2, wait=0.01, jitter=0, idempotent=idempotent)

    def work(session: Session) -> None:
        made.append(1)
        session.execute(text("UPDATE accounts SET balance = 7 WHERE id = 1"))
        if len(made) == 1:
            proxy.cut()
            proxy.mend()

    if idempotent:
        database.run(work, policy)
        assert onlooker.rows("SELECT balance FROM accounts WHERE id = 1") == [7]
    else:
        with pytest.raises(OutcomeUnknown, match="may be there or not"):
            database.run(work, policy)
    assert len(made) == calls


def test_the_breaker_stands_outside_and_recovers(make_database: Callable[..., Database], proxy: Proxy) -> None:
    """Cut: the circuit opens, answers at once and degrades; mended: one probe closes it."""
    breaker = CircuitBreaker("the database", judge, BreakerOptions(threshold=2, cooldown=0.3))
    database = make_database(database_url=proxy.url, breaker=breaker)

    def work(session: Session) -> int:
        return session.scalar(text("SELECT balance FROM accounts WHERE id = 1")) or 0

    assert database.run(work, QUICK) == 100
    proxy.cut()
    for _ in range(2):
        with pytest.raises(DatabaseUnavailable):
            database.run(work, QUICK)
    accepted = proxy.opened
    with pytest.raises(CircuitOpen):
        database.run(work, QUICK)
    assert database.run(work, QUICK, fallback=lambda _: -1) == -1
    assert (breaker.snapshot().state, proxy.opened) == (State.OPEN, accepted)
    proxy.mend()
    assert until_answered(database, work) == 100
    assert breaker.snapshot().state is State.CLOSED


def until_answered(database: Database, work: Callable[[Session], int]) -> int:
    """Ask again each time the breaker says one may."""
    while True:
        try:
            return database.run(work, QUICK)
        except CircuitOpen as refusal:
            threading.Event().wait(refusal.retry_after)


TABLE = [
    ("08006", True),
    ("08001", True),
    ("57P01", True),
    ("57P02", True),
    ("57P03", True),
    ("53300", True),
    ("57014", False),
    ("53100", False),
    ("40001", False),
    ("40P01", False),
    ("23505", False),
    ("28P01", False),
]


@pytest.mark.parametrize(("state", "unavailable"), TABLE)
def test_what_counts_as_unavailable(state: str, *, unavailable: bool) -> None:
    """By SQLSTATE; an error of the statement or of the data is none, and a conflict is repeated without counting."""
    original = psycopg.errors.lookup(state)() if state in psycopg.errors._sqlcodes else psycopg.OperationalError()
    original.sqlstate = state
    error = OperationalError("SELECT 1", None, original)
    assert sqlstate(error) == state
    assert is_unavailable(error) is unavailable
    assert judge(error) == ("failed" if unavailable else "answered")
    assert QUICK.repeats(error) is (unavailable or state in {"40001", "40P01"})


def test_an_exhausted_pool_says_nothing_about_the_server() -> None:
    """It is neither repeated nor counted."""
    error = PoolExhausted(in_use=1, maximum=1, waiting=0, waited=1, holders=[])
    assert (judge(error), QUICK.repeats(error)) == ("nothing", False)
    assert not isinstance(error, DBAPIError)
