"""The floor: CREATE DATABASE and connect. The database of the test before is dropped in the teardown, uncounted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from benchmarks.per_test.timer import FACTS

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def server() -> Iterator[psycopg.Connection]:
    """Where databases are made."""
    with psycopg.connect(FACTS["url"], autocommit=True) as connection:
        yield connection
        for number in range(FACTS["tests"]):
            connection.execute(f"DROP DATABASE IF EXISTS bare_{number} WITH (FORCE)".encode())


@pytest.fixture
def connection(server: psycopg.Connection, number: int) -> Iterator[psycopg.Connection]:
    """A connection to a bare clone."""
    server.execute(f"CREATE DATABASE bare_{number} TEMPLATE {FACTS['template']} STRATEGY FILE_COPY".encode())
    with psycopg.connect(make_conninfo(FACTS["url"], dbname=f"bare_{number}")) as connection:
        yield connection
    server.execute(f'DROP DATABASE IF EXISTS "bare_{number - 1}" WITH (FORCE)'.encode())
