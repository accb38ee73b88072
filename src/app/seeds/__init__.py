"""Sample data: the same rows on every machine, written once and restored on demand.

`ada@acme.example` is the first user; all of them log in with `app.seeds.users.DEV_PASSWORD`.
"""

from collections.abc import Callable
from typing import Any

from psycopg import Connection
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from app.seeds import (
    brand_kits,
    businesses,
    conversations,
    forms,
    knowledge,
    messages,
    organizations,
    users,
    workflows,
)
from app.seeds.load import load
from app.seeds.plan import SIZES, organization_count

__all__ = ["SIZES", "TABLES", "Progress", "seed"]

Progress = Callable[[str, int, int], None]
TABLES = (
    organizations.TABLE,
    users.TABLE,
    businesses.TABLE,
    conversations.TABLE,
    messages.TABLE,
    brand_kits.TABLE,
    knowledge.BASES,
    knowledge.CHUNKS,
    forms.TABLE,
    forms.SUBMISSIONS,
    workflows.TABLE,
    workflows.EVENTS,
)
"""Parents before children."""


def ignore(_table: str, _done: int, _total: int) -> None:
    """Report to nobody."""


def seed(connection: Connection[Any], *, size: str = "small", progress: Progress | None = None) -> dict[str, int]:
    """Write the sample rows of a size, and restore those that were changed or deleted since; other rows stay.

    Runs in the connection's open transaction, or begins one, and commits nothing: the caller does. Sizes extend each
    other, and a smaller size never removes what a larger one wrote. `message_count` of a seeded conversation counts
    the messages that are there, a user's own included.

    The first seeding drops the tables' plain indexes and builds them again, so the connection's role must own the
    tables, and others wait for them until the commit. A parallel build takes up to 512 MB of shared memory.

    Args:
        connection: a connection to a database whose schema is at head, as the role that owns it.
        size: one of `SIZES`: small, medium and large are about 1k, 100k and 1M messages.
        progress: called with a table, its rows done and its rows in all, now and then.

    Returns:
        Rows written per table, inserted or changed; all zero where there was nothing to do.

    Raises:
        ValueError: there is no such size, or the connection would commit every statement by itself.
        psycopg.errors.LockNotAvailable: another session has used these tables for longer than 10 s.
        psycopg.errors.UniqueViolation: a row that is not ours has taken a seeded slug or email.
    """
    organization_count(size)
    if connection.autocommit and connection.info.transaction_status == TransactionStatus.IDLE:
        raise ValueError("Seeds need one transaction: pass a connection with autocommit off.")
    with connection.cursor(row_factory=tuple_row) as cursor:
        cursor.execute("SET LOCAL lock_timeout = '10s'")
        # The tables are isolated from their owner too, who comes in by the system's door.
        cursor.execute("SELECT set_config('app.system_access', 'seed', true)")
        cursor.execute("LOCK TABLE organizations IN SHARE ROW EXCLUSIVE MODE")
        written = {table.name: load(cursor, table, size, progress or ignore) for table in TABLES}
        written["conversations"] += conversations.recount(cursor, size)
    return written
