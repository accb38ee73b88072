"""What usual work costs and whether its indexes are used: queries, bulk inserts and connections, with their plans."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import psycopg
from sqlalchemy import text

from app.db import tenant_context
from benchmarks.measure import Row, interleave, seconds
from benchmarks.service import service

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.service import Service

ROUNDS, TIMES = 5, 100
# Each with the values of the first conversation, user or message of the tenant.
QUERIES = {
    "a conversation by id": "SELECT * FROM conversations WHERE id = :conversation",
    "a conversation's messages": "SELECT * FROM messages WHERE conversation_id = :conversation ORDER BY created_at",
    "a tenant's newest 100 messages": "SELECT * FROM messages ORDER BY created_at DESC LIMIT 100",
    "a user's businesses": "SELECT * FROM businesses WHERE user_id = :user",
    "a user by address": "SELECT * FROM users WHERE email_key = lower('Ada@acme.example')",
}
NO_INDEX = "SET LOCAL enable_indexscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL enable_indexonlyscan = off"


def measure(rounds: int = ROUNDS) -> list[Row]:
    """Each query with its indexes against the same without; then a checkout against a connection made anew."""
    with service("embedded", "medium") as served:
        (values,) = served.run(
            "SELECT c.id, b.user_id FROM conversations AS c JOIN businesses AS b ON b.id = c.business_id"
            " WHERE c.tenant_id = %s ORDER BY c.id LIMIT 1",
            served.tenant,
        )
        known = dict(zip(("conversation", "user"), values, strict=True))
        rows = [_query(served, name, statement, known, rounds) for name, statement in QUERIES.items()]
        return [*rows, _connections(served, rounds)]


def _query(served: Service, name: str, statement: str, values: dict[str, Any], rounds: int) -> Row:
    def ask(*, indexes: bool) -> float:
        with tenant_context(served.tenant), served.database.session() as session:
            connection = session.connection()
            if not indexes:
                connection.exec_driver_sql(NO_INDEX)
            # A prepared statement keeps the plan that it was given under the other side's settings.
            connection.exec_driver_sql("DISCARD PLANS")
            return seconds(lambda: [connection.execute(text(statement), values).fetchall() for _ in range(TIMES)])

    ours, theirs = interleave(rounds, lambda: ask(indexes=True), lambda: ask(indexes=False))
    used = ", ".join(_indexes(served, statement, values)) or "no index"
    return Row(f"{TIMES} times {name} ({used})", "the same without indexes", ours, theirs)


def _indexes(served: Service, statement: str, values: dict[str, Any]) -> list[str]:
    """The indexes that the plan names."""
    with tenant_context(served.tenant), served.database.session() as session:
        plan = session.execute(text(f"EXPLAIN (FORMAT JSON) {statement}"), values).scalar_one()
    nodes = _nodes((plan if isinstance(plan, list) else json.loads(plan))[0]["Plan"])
    return [node["Index Name"] for node in nodes if "Index Name" in node]


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from _nodes(child)


def _connections(served: Service, rounds: int) -> Row:
    url = served.url("app")

    def checkouts() -> None:
        for _ in range(TIMES):
            with served.database.engine.connect() as connection:
                connection.execute(text("SELECT 1"))

    def connections() -> None:
        for _ in range(TIMES):
            with psycopg.connect(url) as connection:
                connection.execute("SELECT 1")

    ours, theirs = interleave(rounds, lambda: seconds(checkouts), lambda: seconds(connections))
    return Row(f"{TIMES} times checkout, `SELECT 1`", "a connection made anew each time", ours, theirs)
