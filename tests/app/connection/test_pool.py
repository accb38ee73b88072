"""The pool for threads, on a real server: its limits, its figures, and what becomes of broken connections."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DataError, OperationalError

from app.db import Database, Events
from app.db.retry import is_unavailable
from app.errors import AppError, DatabaseUnavailable, PoolExhausted
from tests.proxy import Proxy
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.app.database import Onlooker


def opened(database: Database) -> Database:
    """Open its pool first: a caller who comes before the minimum is there makes the pool grow by one."""
    database._pool("threads").pool.wait(10)
    return database


PID = text("SELECT pg_backend_pid()")


def test_a_new_database_connects_only_when_used(make_database: Callable[..., Database], onlooker: Onlooker) -> None:
    """No session before the first use; then the minimum, kept open."""
    database = make_database(db_pool_min=3)
    assert (database.pool_stats().size, onlooker.sessions()) == (0, [])
    assert opened(database).test_connection()
    eventually(lambda: len(onlooker.sessions()) == 3, "the minimum is open")


def test_connection_is_false_and_no_error_where_nothing_listens(make_database: Callable[..., Database]) -> None:
    """A refused connection answers at once, not after the pool's timeout."""
    database = make_database(database_url="postgresql://app:x@127.0.0.1:1/app", db_pool_timeout=60)
    assert database.test_connection() is False
    with (
        pytest.raises(DatabaseUnavailable, match=r"app on 127\.0\.0\.1:1: .*[Cc]onnection refused"),
        database.engine.connect(),
    ):
        pytest.fail("there is no connection to be had")


def test_a_wrong_password_is_told_and_not_shown(make_database: Callable[..., Database], app_url: str) -> None:
    """The error names database and reason; the password is in none of its texts."""
    wrong = app_url.replace("://app:", "://app:not-the-password-")
    database = make_database(database_url=wrong)
    with (
        pytest.raises(DatabaseUnavailable, match="password authentication failed") as caught,
        database.engine.connect(),
    ):
        pytest.fail("there is no connection to be had")
    assert "not-the-password" not in f"{caught.value!r} {caught.value.__cause__!r} {database.settings!r}"


def test_exhaustion_is_an_error_with_figures(make_database: Callable[..., Database]) -> None:
    """Who waits in vain learns how many are out, and where they were taken."""
    database = make_database(db_pool_max=2, db_pool_timeout=0.2)
    with database.engine.connect(), database.session() as session:
        session.execute(PID)
        with pytest.raises(PoolExhausted) as caught, database.engine.connect():
            pytest.fail("both are out")
    error = caught.value
    assert (error.in_use, error.maximum) == (2, 2)
    assert error.waited >= 0.2
    assert all("test_pool.py" in place for place in error.holders)
    assert "test_exhaustion_is_an_error_with_figures" in str(error)
    assert database.test_connection()


def test_stats_tell_what_goes_on(make_database: Callable[..., Database]) -> None:
    """Size, in use, idle, overflow, waits and their time."""
    database = opened(make_database(db_pool_min=1, db_pool_max=3))
    with database.engine.connect(), database.engine.connect():
        busy = database.pool_stats()
    assert (busy.in_use, busy.size, busy.overflow, busy.maximum, busy.minimum) == (2, 2, 1, 3, 1)
    calm = database.pool_stats()
    assert (calm.in_use, calm.idle, calm.waiting, calm.failures) == (0, 2, 0, 0)
    assert calm.waits >= 1
    assert 0 < calm.wait_seconds < 20


def test_those_who_wait_are_counted_and_served(make_database: Callable[..., Database]) -> None:
    """A caller in the queue shows in the figures and gets the connection that comes back."""
    database = make_database(db_pool_max=1, db_pool_min=1)
    with ThreadPoolExecutor(1) as threads:
        with database.engine.connect():
            later = threads.submit(database.test_connection)
            eventually(lambda: database.pool_stats().waiting == 1, "one caller waits")
        assert later.result(10)


def test_connections_beyond_the_minimum_go_when_idle(
    make_database: Callable[..., Database], onlooker: Onlooker
) -> None:
    """DB_IDLE_TIMEOUT shrinks the pool to its minimum, on the server too."""
    database = make_database(db_pool_min=1, db_idle_timeout=0.2)
    connections = [database.engine.connect() for _ in range(4)]
    assert len(onlooker.sessions()) == 4
    for connection in connections:
        connection.close()
    eventually(lambda: len(onlooker.sessions()) == 1, "the idle ones are gone")
    assert database.pool_stats().size == 1


def test_an_old_connection_is_replaced(make_database: Callable[..., Database], onlooker: Onlooker) -> None:
    """DB_MAX_LIFETIME: a connection past its age is closed when it comes back."""
    database = make_database(db_pool_min=1, db_pool_max=1, db_max_lifetime=0.1, db_idle_timeout=0.1)
    assert database.test_connection()
    before = onlooker.sessions()
    with database.engine.connect():
        eventually(lambda: database.pool_stats().longest > 0.1, "it is past its age")
    eventually(lambda: bool(onlooker.sessions()) and onlooker.sessions() != before, "another took its place")


def test_warning_before_exhaustion(make_database: Callable[..., Database], caplog: pytest.LogCaptureFixture) -> None:
    """At the share named, before the last connection goes, once; and again after a calm."""
    told: list[tuple[int, int]] = []
    database = make_database(Events(pressure=lambda in_use, maximum: told.append((in_use, maximum))), db_pool_max=4)
    for _ in range(2):
        connections = [database.engine.connect() for _ in range(4)]
        for connection in connections:
            connection.close()
    assert told == [(3, 4), (3, 4)]
    assert "3 of 4 database connections are in use" in caplog.text


def test_a_leak_is_named_by_its_place(make_database: Callable[..., Database], caplog: pytest.LogCaptureFixture) -> None:
    """A connection that is out for too long is reported once, with file, line and function, and leaves the figures."""
    told: list[str] = []
    database = make_database(Events(leak=told.append), db_leak_after=0.05)
    with database.session() as session:
        session.execute(PID)
        eventually(lambda: bool(database.pool_stats().leaks), "it is out for too long")
        database.pool_stats()
    assert len(told) == 1
    assert "test_pool.py:" in told[0]
    assert told[0].endswith("test_a_leak_is_named_by_its_place")
    assert "came back after" in caplog.text
    assert database.pool_stats().leaks == ()


def test_threads_share_the_maximum(make_database: Callable[..., Database], onlooker: Onlooker) -> None:
    """Many threads, few connections: every one is served, and the server never sees more than the maximum."""
    database = make_database(db_pool_max=3)
    seen: set[int] = set()
    barrier = threading.Barrier(12)

    def work(_: int) -> None:
        barrier.wait(10)
        for _ in range(10):
            with database.engine.connect() as connection:
                seen.add(connection.scalar(PID) or 0)

    with ThreadPoolExecutor(12) as threads:
        list(threads.map(work, range(12)))
    assert len(seen) <= 3
    assert len(onlooker.sessions()) <= 3
    assert database.pool_stats().in_use == 0


def test_a_session_commits_or_rolls_back(make_database: Callable[..., Database], onlooker: Onlooker) -> None:
    """A block that ends well is kept; one that raises leaves nothing, and the connection is as good as new."""
    onlooker.connection.execute(
        "CREATE TABLE IF NOT EXISTS notes (body text); TRUNCATE notes; GRANT ALL ON notes TO app"
    )
    database = make_database(db_pool_max=1)
    with database.session() as session:
        session.execute(text("INSERT INTO notes VALUES ('kept')"))
    with pytest.raises(DataError, match="division by zero"), database.session() as session:
        session.execute(text("INSERT INTO notes SELECT 'lost' || 1 / n FROM generate_series(1, 0, -1) AS n"))
    assert onlooker.rows("SELECT body FROM notes") == ["kept"]
    assert database.test_connection()


def test_a_statement_may_run_so_long(make_database: Callable[..., Database]) -> None:
    """DB_STATEMENT_TIMEOUT ends a statement on the server; the connection serves on."""
    database = make_database(db_statement_timeout=0.1, db_pool_max=1)
    with pytest.raises(OperationalError, match="statement timeout"), database.session() as session:
        session.execute(text("SELECT pg_sleep(10)"))
    assert database.test_connection()


def test_a_server_that_falls_silent_holds_nobody(
    make_database: Callable[..., Database], app_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the middle of a statement, too, where the server's own timeout cannot help; then all is as before."""
    monkeypatch.setattr("app.db.connection.GRACE", 0.2)
    with Proxy(app_url) as proxy:
        database = make_database(database_url=proxy.url, db_statement_timeout=0.1)
        with database.engine.connect() as connection:
            connection.scalar(PID)
            proxy.pause()
            with pytest.raises(OperationalError, match=r"said nothing for 0\.3 s") as caught:
                connection.scalar(PID)
            assert is_unavailable(caught.value)
        proxy.resume()
        assert database.test_connection()
        database.close_connections()


def test_idle_connections_that_died_are_never_handed_out(
    make_database: Callable[..., Database], onlooker: Onlooker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the server ended every session, the next caller gets a living one, and one check was enough to tell."""
    monkeypatch.setattr("app.db.pool.FRESH", 0)
    database = opened(make_database(db_pool_min=4))
    assert onlooker.terminate() == 4
    assert all(database.test_connection() for _ in range(8))
    eventually(lambda: len(onlooker.sessions()) >= 4, "the minimum is back")


def test_connections_that_break_in_use_do_not_shrink_the_pool(
    make_database: Callable[..., Database], onlooker: Onlooker
) -> None:
    """Psycopg's `close` passes over a broken connection; ours gives it back, so that its place is filled again."""
    database = make_database(db_pool_min=1, db_pool_max=2, db_pool_timeout=5)
    for _ in range(4):
        with database.engine.connect() as connection:
            connection.scalar(PID)
            onlooker.terminate()
            with pytest.raises(OperationalError):
                connection.scalar(PID)
    with database.engine.connect() as one, database.engine.connect() as two:
        assert one.scalar(PID) != two.scalar(PID)


def test_a_checkout_adds_nothing_to_a_connection(make_database: Callable[..., Database]) -> None:
    """SQLAlchemy takes every checkout for a new connection and would add a notice handler each time."""
    database = make_database(db_pool_min=1, db_pool_max=1)
    for _ in range(5):
        with database.engine.connect() as connection:
            driver: Any = connection.connection.driver_connection
    assert len(driver._notice_handlers) == 1


@pytest.mark.parametrize(("environment", "shown"), [("development", True), ("staging", False)])
def test_errors_repeat_parameters_in_development_only(
    make_database: Callable[..., Database], environment: str, *, shown: bool
) -> None:
    """A statement's parameters are somebody's data: past development no error's text has them."""
    database = make_database(app_env=environment, database_ssl="disable")
    with pytest.raises(DataError) as caught, database.engine.begin() as connection:
        connection.execute(text("SELECT 1 / (length(:name) - 5)"), {"name": "Alice"})
    assert ("Alice" in str(caught.value)) is shown


def test_closing_waits_for_what_is_out(make_database: Callable[..., Database], onlooker: Onlooker) -> None:
    """Graceful shutdown: work in hand is finished, new work is refused, and no session stays on the server."""
    database = make_database()
    with ThreadPoolExecutor(1) as threads:
        with database.session() as session:
            session.execute(PID)
            closing = threads.submit(database.close_connections)
            eventually(lambda: database._pools["threads"].closing, "closing has begun")
            with pytest.raises(DatabaseUnavailable, match="close_connections"), database.engine.connect():
                pytest.fail("the pool is closing")
            assert session.scalar(text("SELECT 1")) == 1
        closing.result(10)
    eventually(lambda: onlooker.sessions() == [], "the sessions are gone")
    assert database.test_connection() is False


def test_errors_are_the_applications(make_database: Callable[..., Database]) -> None:
    """One root catches them all."""
    database = make_database(db_pool_max=1, db_pool_timeout=0.05)
    with database.engine.connect(), pytest.raises(AppError), database.engine.connect():
        pytest.fail("the only one is out")
