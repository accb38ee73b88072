"""What row-level security costs: indexed queries under policies against the same with a plain filter on the tenant."""

from __future__ import annotations

from typing import Any, LiteralString
from uuid import UUID

import psycopg

from benchmarks.measure import Limit, Row, interleave, seconds
from benchmarks.service import service

ROUNDS, QUERIES = 9, 200
TENANTS, EVENTS = 1_000, 1_000_000
# Foreign keys are not what is measured here, and checking a million of them takes longer than all the rest.
FILL = (
    "SET session_replication_role = replica",
    """INSERT INTO organizations (id, slug, name)
       SELECT lpad(to_hex(n), 32, '0')::uuid, 'tenant-' || n, 'Tenant ' || n FROM generate_series(1, 1000) AS n""",
    """INSERT INTO events (tenant_id, kind, payload, created_at)
       SELECT lpad(to_hex(1 + n % 1000), 32, '0')::uuid, 'page.viewed', '{}',
              timestamptz '2026-01-01' + n * interval '1s'
       FROM generate_series(1, 1000000) AS n""",
    "RESET session_replication_role",
    "VACUUM ANALYZE events",
)
CASES: dict[str, tuple[LiteralString, LiteralString]] = {
    "count of a tenant's rows": (
        "SELECT count(*) FROM events",
        "SELECT count(*) FROM events WHERE tenant_id = %s",
    ),
    "a tenant's newest 100 rows": (
        "SELECT * FROM events ORDER BY created_at DESC LIMIT 100",
        "SELECT * FROM events WHERE tenant_id = %s ORDER BY created_at DESC LIMIT 100",
    ),
}


def measure(rounds: int = ROUNDS) -> list[Row]:
    """One row for each query: 200 of them by turns, each in a transaction that was told its tenant."""
    with service("embedded") as served:
        for statement in FILL:
            served.superuser.execute(statement.encode())
        with psycopg.connect(served.url("app")) as app, psycopg.connect(served.url("backup")) as plain:
            return [_measure(app, plain, name, rounds) for name in CASES]


def _measure(app: psycopg.Connection[Any], plain: psycopg.Connection[Any], name: str, rounds: int) -> Row:
    policies, filtered = CASES[name]

    def ours() -> float:
        return seconds(lambda: [_ask(app, policies, UUID(int=1 + n), ()) for n in range(QUERIES)])

    def theirs() -> float:
        return seconds(lambda: [_ask(plain, filtered, UUID(int=1 + n), (UUID(int=1 + n),)) for n in range(QUERIES)])

    interleave(1, ours, theirs)
    under, free = interleave(rounds, ours, theirs)
    what = f"{QUERIES} times {name} of {EVENTS:,} and {TENANTS:,} tenants, policies"
    return Row(what, "a plain filter, no policies", under, free, Limit(1.3))


def _ask(
    connection: psycopg.Connection[Any], query: LiteralString, tenant: UUID, values: tuple[UUID, ...]
) -> list[tuple[Any, ...]]:
    with connection.transaction():
        connection.execute("SELECT set_config('app.tenant_id', %s, true)", (str(tenant),))
        return connection.execute(query, values or None).fetchall()
