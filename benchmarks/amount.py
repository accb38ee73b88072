"""Checkouts that hold a certain amount of seeded data, as backups are measured with."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

import psycopg

from app.seeds import SIZES, seed
from benchmarks.stage import checkout

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.checkout import Checkout

# Organizations that make a database of about this size, indexes included; the text of its dump is a little larger.
ORGANIZATIONS = {"100MB": 58, "1GB": 620}


@contextmanager
def stocked(amount: str, engine: str = "docker") -> Iterator[Checkout]:
    """A checkout with that amount of data, on disk and analysed; gone afterwards with all it started."""
    with checkout(engine) as dock:
        # A size in between: seeds of every size are the beginning of the same rows.
        cast("dict[str, int]", SIZES)[amount] = ORGANIZATIONS[amount]
        with psycopg.connect(dock.environment.database_url(dock.environment.owner)) as connection:
            seed(connection, size=amount)
        dock.query("ANALYZE")
        settle(dock)
        yield dock


def settle(dock: Checkout) -> None:
    """Leave nothing to be written to the side that comes next."""
    dock.query("CHECKPOINT")
    os.sync()


def describe(dock: Checkout) -> str:
    """How much there is."""
    ((size, messages),) = dock.query("SELECT pg_database_size(current_database()), (SELECT count(*) FROM messages)")
    return f"{size / 1e6:,.0f} MB with {messages:,} messages"
