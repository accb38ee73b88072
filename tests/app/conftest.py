"""A database at head for every test of the application's data layer, as drydock.testing hands them out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from drydock.environment import Environment
    from drydock.testing import Database


@dataclass(frozen=True)
class AppDatabase:
    """One database of a test's own, and its URL for each role."""

    name: str
    superuser_url: str
    owner_url: str
    app_url: str
    backup_url: str


@pytest.fixture(scope="session")
def head(any_engine: str, postgres_server: Environment) -> Environment:  # noqa: ARG001 - it skips where there is none
    """The throwaway server that the tests' databases are on."""
    return postgres_server


@pytest.fixture
def app_database(head: Environment, postgres: Database) -> AppDatabase:  # noqa: ARG001
    """A migrated database without rows."""
    return AppDatabase(postgres.name, postgres.superuser_url, postgres.owner_url, postgres.app_url, postgres.backup_url)
