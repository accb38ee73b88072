"""Databases as the application opens them, on a database of the test's own."""

from __future__ import annotations

import os
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from app.db import CircuitBreaker, Database, Events
from app.settings import Settings
from tests.app.database import Onlooker
from tests.app.pgbouncer import PgBouncer, running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from drydock.environment import Environment
    from tests.app.conftest import AppDatabase


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the developer's own shell takes part."""
    for name in os.environ:
        if name.startswith(("DATABASE_", "DB_", "REDIS_", "APP_ENV")):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def pgbouncer(head: Environment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PgBouncer]:
    """A transaction pooler in front of the server and all its databases, with a certificate for db.example."""
    urls = [head.database_url(role, "postgres") for role in (head.superuser, head.owner, head.app)]
    with running(tmp_path_factory.mktemp("pgbouncer"), urls) as pgbouncer:
        yield pgbouncer


@pytest.fixture
def app_url(app_database: AppDatabase) -> str:
    """The application role's URL."""
    return app_database.app_url


@pytest.fixture
def onlooker(app_database: AppDatabase) -> Iterator[Onlooker]:
    """The superuser's view of the database."""
    with closing(Onlooker(app_database.superuser_url)) as watching:
        yield watching


@pytest.fixture
def make_database(app_database: AppDatabase) -> Iterator[Callable[..., Database]]:
    """Databases with settings as the test has them; closed after it."""
    made: list[Database] = []

    def make(events: Events | None = None, breaker: CircuitBreaker | None = None, **settings: Any) -> Database:
        urls = {"database_url": app_database.app_url, "database_owner_url": app_database.owner_url}
        made.append(Database(Settings(**urls | settings), events, breaker))
        return made[-1]

    yield make
    for database in made:
        database.close_connections(timeout=1)
