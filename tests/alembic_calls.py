"""Alembic as a program calls it, and empty databases for it."""

from __future__ import annotations

import io
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import psycopg
from alembic.config import Config
from psycopg.sql import SQL, Identifier

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]


def alembic_config(url: str | None = None, **attributes: object) -> Config:
    """This project's Alembic configuration for a database."""
    config = Config(ROOT / "alembic.ini", stdout=io.StringIO(), output_buffer=io.StringIO())
    config.attributes.update(attributes, **({"url": url} if url else {}))
    return config


@contextmanager
def fresh_database(superuser_url: str) -> Iterator[str]:
    """A new, empty database, dropped afterwards; its URL."""
    name = f"app_{uuid4().hex[:12]}"
    server, _, _ = superuser_url.rpartition("/")
    with psycopg.connect(superuser_url, autocommit=True) as connection:
        connection.execute(SQL("CREATE DATABASE {}").format(Identifier(name)))
        yield f"{server}/{name}"
        connection.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))
