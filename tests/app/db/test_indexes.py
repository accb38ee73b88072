"""Indexes under row-level security: what is looked for often is found by the index that was made for it.

A condition whose function is not leakproof is put to the rows that a policy has let through, and to no index
(PostgreSQL manual, Rules and Privileges). Who asks as a superuser does not notice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

import psycopg
import pytest
from sqlalchemy import text

from app.db.tenancy import tenant_context

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

    from tests.app.conftest import AppDatabase

TENANT = UUID(int=2)
# Two tenants with 2,000 users each, and one row per user in every other table, under the user's id.
ROWS = """
    CREATE TEMPORARY TABLE given AS SELECT n, lpad(to_hex(n), 32, '0')::uuid AS id,
        lpad(to_hex(n % 2 + 1), 32, '0')::uuid AS tenant_id FROM generate_series(0, 3999) AS n;
    INSERT INTO organizations (id, slug, name) SELECT DISTINCT tenant_id, right(tenant_id::text, 1), 'Acme' FROM given;
    INSERT INTO users (id, tenant_id, email, external_id, name)
        SELECT id, tenant_id, 'User' || n || '@Acme.example', n, n FROM given;
    INSERT INTO businesses (id, tenant_id, user_id, name) SELECT id, tenant_id, id, n FROM given;
    INSERT INTO conversations (id, tenant_id, business_id, title) SELECT id, tenant_id, id, n FROM given;
    INSERT INTO messages (tenant_id, conversation_id, role, content, created_at)
        SELECT tenant_id, id, 'user', n, now() - n * interval '1 minute' FROM given;
    ANALYZE users, businesses, conversations, messages;
"""
ROW = UUID(int=7)
USED = {
    "SELECT * FROM users WHERE email_key = lower('USER7@acme.example')": "uq_users_email_key",
    "SELECT * FROM users WHERE external_id = '7'": "uq_users_external_id",
    "SELECT * FROM conversations WHERE id = '{row}'": "uq_conversations_tenant_id_id",
    "SELECT * FROM businesses WHERE user_id = '{row}'": "ix_businesses_user_id",
    "SELECT * FROM conversations WHERE business_id = '{row}'": "ix_conversations_business_id",
    "SELECT * FROM messages WHERE conversation_id = '{row}' ORDER BY created_at": "ix_messages_conversation_id",
    "SELECT * FROM messages ORDER BY created_at DESC LIMIT 20": "ix_messages_tenant_id_created_at",
}


def indexes(plan: dict[str, Any]) -> Iterator[str]:
    """The indexes that a plan names, from its root down."""
    if "Index Name" in plan:
        yield plan["Index Name"]
    for child in plan.get("Plans", ()):
        yield from indexes(child)


@pytest.fixture
def filled(app_database: AppDatabase) -> None:
    """Enough rows for an index to be worth its while."""
    with psycopg.connect(app_database.superuser_url) as connection:
        connection.execute(ROWS)


@pytest.mark.usefixtures("filled")
def test_every_look_up_has_its_index(engine: Engine) -> None:
    """The planner, free to choose, finds a tenant's row by the index that is meant for it, and there is one."""
    used, found = {}, {}
    with tenant_context(TENANT), engine.connect() as connection:
        assert connection.scalar(text("SELECT current_user")) == "app"
        for statement in USED:
            query = text(statement.format(row=ROW))
            (root,) = connection.scalar(text(f"EXPLAIN (FORMAT JSON) {query}"))
            used[statement] = ", ".join(indexes(root["Plan"]))
            found[statement] = len(connection.execute(query).all())
    assert used == USED
    assert found == {statement: 20 if "LIMIT 20" in statement else 1 for statement in USED}
