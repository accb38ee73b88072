"""The test that every side runs: its own database is there, and answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.per_test.timer import FACTS

if TYPE_CHECKING:
    import psycopg


def test_own_database(connection: psycopg.Connection, number: int) -> None:  # noqa: ARG001 - one of many
    """One query and one row, which no other test may see."""
    found = connection.execute("SELECT count(*) FROM organizations").fetchone()
    assert found is not None
    assert bool(found[0]) is bool(FACTS["size"])
    connection.execute("CREATE TABLE mine ()")
    connection.rollback()
