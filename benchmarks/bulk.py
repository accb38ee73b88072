"""`Repository.insert_many` as the application role, policies and all, against a raw binary COPY as the superuser."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from app.db import binary_copy, tenant_context
from app.db.repository import Repository
from app.models import EMBEDDING_DIMENSIONS, Event, Message
from benchmarks.measure import Limit, Row, interleave, seconds
from benchmarks.service import service

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.models import Base
    from benchmarks.service import Service

ROUNDS, EVENTS, MESSAGES = 7, 50_000, 2_000
LIMIT = Limit(0.7, at_least=True)
KINDS = {"payload": "bytea", "metadata": "bytea", "embedding": "bytea", "conversation_id": "uuid", "tenant_id": "uuid"}


def measure(rounds: int = ROUNDS) -> list[Row]:
    """Rows per second into a table with B-tree indexes, and into one with an HNSW index on top."""
    with service("embedded") as served:
        ((conversation,),) = served.run("SELECT id FROM conversations WHERE tenant_id = %s LIMIT 1", served.tenant)
        said = {"conversation_id": conversation, "role": "user", "content": "How is it going?"}
        messages = [said | {"meta": {"n": n}, "embedding": _vector(n)} for n in range(MESSAGES)]
        events = [{"kind": "page.viewed", "payload": {"n": n}} for n in range(EVENTS)]
        return [_measure(served, Event, events, rounds), _measure(served, Message, messages, rounds)]


def _vector(number: int) -> list[float]:
    return [(number * 7919 + n * 104_729) % 1009 / 1009 for n in range(EMBEDDING_DIMENSIONS)]


def _measure(served: Service, model: type[Base], rows: list[dict[str, Any]], rounds: int) -> Row:
    table = model.__tablename__
    copied = [_binary(row) | {"tenant_id": served.tenant} for row in rows]
    ((before,),) = served.run("SELECT clock_timestamp()")

    def fresh(work: Callable[[], None]) -> float:
        """Into the table as the seeds left it, with nothing left to be written."""
        served.superuser.execute(f"DELETE FROM {table} WHERE created_at > %s".encode(), (before,))
        served.superuser.execute(f"VACUUM {table}".encode())
        served.run("CHECKPOINT")
        return seconds(work)

    ours, theirs = interleave(
        rounds,
        lambda: fresh(lambda: _insert(served, model, rows)),
        lambda: fresh(lambda: _copy(served, table, copied)),
    )
    return Row(f"`insert_many`, {len(rows):,} {table}", "raw binary COPY, no policies", ours, theirs, LIMIT)


def _insert(served: Service, model: type[Base], rows: list[dict[str, Any]]) -> None:
    with tenant_context(served.tenant), served.database.session() as session:
        Repository(session, model).insert_many(rows)


def _copy(served: Service, table: str, rows: list[dict[str, Any]]) -> None:
    names = list(rows[0])
    statement = f"COPY {table} ({', '.join(names)}) FROM STDIN (FORMAT BINARY)".encode()
    with served.superuser.cursor() as cursor, cursor.copy(statement) as copy:
        copy.set_types([KINDS.get(name, "text") for name in names])
        for row in rows:
            copy.write_row(tuple(row.values()))


def _binary(row: dict[str, Any]) -> dict[str, Any]:
    """The floor's rows, made before the clock runs: jsonb and vectors in their binary form."""
    made = {"payload": binary_copy.jsonb, "meta": binary_copy.jsonb, "embedding": binary_copy.vector}
    known = {"meta": "metadata"}
    return {known.get(name, name): made[name](value) if name in made else value for name, value in row.items()}
