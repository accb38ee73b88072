"""What every side's databases hold: the project's migrations and seeds, put there without drydock."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import psycopg

from benchmarks.measure import run
from drydock.settings import child_environment

if TYPE_CHECKING:
    from pathlib import Path


def fill(root: Path, url: str) -> None:
    """Migrate a database to head as its superuser."""
    names = {"DATABASE_URL": url, "DATABASE_OWNER_URL": url, "PYTHONPATH": str(root / "src")}
    run([sys.executable, "-m", "alembic", "upgrade", "head"], root, child_environment(names))


def seed(url: str, size: str) -> None:
    """Load the seeds; app.seeds is this repository's own."""
    from app.seeds import seed as load

    with psycopg.connect(url) as connection:
        load(connection, size=size)


def truncate(connection: psycopg.Connection) -> None:
    """Empty every table of the application, as suites do between tests."""
    names = connection.execute(
        "SELECT string_agg(quote_ident(relname), ', ') FROM pg_stat_user_tables"
        " WHERE schemaname = 'public' AND relname <> 'alembic_version'"
    ).fetchone()
    assert names is not None
    connection.execute(f"TRUNCATE {names[0]} RESTART IDENTITY CASCADE".encode())
