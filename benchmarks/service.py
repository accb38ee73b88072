"""A service at work for the benchmarks of the data layer: its database, a tenant, and a superuser beside it."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, LiteralString

import psycopg

from app.db import Database
from app.settings import Settings
from benchmarks.stage import checkout

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from tests.checkout import Checkout


@dataclass(frozen=True)
class Service:
    """What a measurement works with.

    Attributes:
        dock: the checkout that the servers belong to.
        database: as the application has it.
        superuser: a connection that no policy holds, in autocommit.
        tenant: an organization of the seeds.
    """

    dock: Checkout
    database: Database
    superuser: psycopg.Connection[Any]
    tenant: UUID

    def run(self, statement: LiteralString, *values: object) -> list[tuple[Any, ...]]:
        """Run one statement as the superuser; returns its rows, if it has any."""
        cursor = self.superuser.execute(statement, values or None)
        return cursor.fetchall() if cursor.description else []

    def url(self, role: str) -> str:
        """The libpq URL of a role of the environment: app, owner, backup or superuser."""
        environment = self.dock.environment
        return environment.database_url(getattr(environment, role))


@contextmanager
def service(engine: str, size: str = "small") -> Iterator[Service]:
    """A checkout, up and seeded, and the application's database in it; gone afterwards."""
    with checkout(engine) as dock:
        if size != "small":
            dock.run("seed", "--size", size)
        environment = dock.environment
        settings = Settings(
            database_url=environment.database_url(environment.app),
            database_owner_url=environment.database_url(environment.owner),
        )
        database = Database(settings)
        url = environment.database_url(environment.superuser)
        with psycopg.connect(url, autocommit=True) as superuser:
            row = superuser.execute("SELECT id FROM organizations WHERE slug = 'acme'").fetchone()
            assert row is not None
            yield Service(dock, database, superuser, row[0])
        database.close_connections()
