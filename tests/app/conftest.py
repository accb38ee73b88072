"""A database at head for every test of the application's data layer, on a real server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from drydock import migrate, postgres, template

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drydock.environment import Environment
    from tests.checkout import Checkout

HEAD = "app_head"


@dataclass(frozen=True)
class AppDatabase:
    """One database of a test's own, and its URL for each role."""

    name: str
    superuser_url: str
    owner_url: str
    app_url: str
    backup_url: str


@pytest.fixture(scope="session")
def head(scratch: Checkout) -> Environment:
    """The scratch server with a migrated, empty database to clone."""
    environment = scratch.environment
    with postgres.administer(environment) as connection:
        template.drop(connection, HEAD)
        postgres.create_database(environment, connection, HEAD)
        migrate.upgrade(environment, database=HEAD)
    return environment


@pytest.fixture
def app_database(head: Environment) -> Iterator[AppDatabase]:
    """A migrated database without rows; dropped after the test."""
    name = f"app_{uuid4().hex[:12]}"
    with postgres.administer(head) as connection:
        template.clone(head, connection, HEAD, name)
    yield AppDatabase(
        name, *(head.database_url(role, name) for role in (head.superuser, head.owner, head.app, head.backup))
    )
    with postgres.administer(head) as connection:
        template.drop(connection, name)
