"""Databases as the application opens them, on a database of the test's own."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from app.db import CircuitBreaker, Database, Events
from app.settings import Settings
from drydock import postgres, template
from tests.app.conftest import HEAD, AppDatabase
from tests.app.database import Onlooker, eventually
from tests.app.pgbouncer import PgBouncer, running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from drydock.environment import Environment


DATABASE = "app_connections"


@pytest.fixture(scope="session")
def shared(head: Environment) -> Iterator[AppDatabase]:
    """One migrated database for all tests of connections: each closes its own, and few leave rows."""
    with postgres.administer(head) as connection:
        template.clone(head, connection, HEAD, DATABASE)
    yield AppDatabase(DATABASE, *(head.database_url(role, DATABASE) for role in (head.superuser, head.owner, head.app)))
    with postgres.administer(head) as connection:
        template.drop(connection, DATABASE)


@pytest.fixture
def app_url(shared: AppDatabase) -> str:
    """The application role's URL."""
    return shared.app_url


@pytest.fixture(scope="module")
def pgbouncer(shared: AppDatabase, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PgBouncer]:
    """A transaction pooler in front of the server, with a certificate for db.example."""
    folder = tmp_path_factory.mktemp("pgbouncer")
    with running(folder, [shared.app_url, shared.owner_url]) as pgbouncer:
        yield pgbouncer
    with closing(Onlooker(shared.superuser_url)) as watching:
        eventually(lambda: watching.sessions() == [], "the pooler's sessions are gone")


@pytest.fixture
def onlooker(shared: AppDatabase) -> Iterator[Onlooker]:
    """The superuser's view of the database."""
    with closing(Onlooker(shared.superuser_url)) as watching:
        yield watching


@pytest.fixture
def make_database(shared: AppDatabase) -> Iterator[Callable[..., Database]]:
    """Databases with settings as the test has them; closed after it."""
    made: list[Database] = []

    def make(events: Events | None = None, breaker: CircuitBreaker | None = None, **settings: Any) -> Database:
        urls = {"database_url": shared.app_url, "database_owner_url": shared.owner_url}
        made.append(Database(Settings(**urls | settings), events, breaker))
        return made[-1]

    yield make
    for database in made:
        database.close_connections(timeout=1)
