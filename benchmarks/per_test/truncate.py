"""A container per session, as with testcontainers; every table is emptied, and seeded again, between tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from benchmarks.per_test import content
from benchmarks.per_test.timer import FACTS

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def connection() -> Iterator[psycopg.Connection]:
    """A connection to the one database that all tests share."""
    with psycopg.connect(FACTS["container"]) as connection:
        yield connection
        connection.rollback()
        content.truncate(connection)
    if FACTS["size"]:
        content.seed(FACTS["container"], FACTS["size"])
