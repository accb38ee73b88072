"""drydock.testing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks.per_test.timer import FACTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg

pytest_plugins = ["drydock.testing"]


@pytest.fixture
def connection(request: pytest.FixtureRequest) -> Iterator[psycopg.Connection]:
    """A connection to the plugin's database."""
    database = request.getfixturevalue("seeded_postgres" if FACTS["size"] else "postgres")
    with database.connect("superuser") as connection:
        yield connection
