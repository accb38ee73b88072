"""The owner's sessions: a pool of their own behind a door of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from sqlalchemy import text

from app.db import Database, system_access, tenant_context
from app.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable

ALL = text("SELECT count(*) FROM organizations")


def test_the_owner_sees_all_through_the_door_only(make_database: Callable[..., Database]) -> None:
    """Without the door even the owner sees nothing; with it, every tenant, and the reason is on record."""
    database = make_database()
    tenant = uuid4()
    with tenant_context(tenant), database.session() as session:
        session.execute(text("INSERT INTO organizations (id, slug, name) VALUES (:id, 'acme', 'Acme')"), {"id": tenant})
    with database.session() as session:
        assert session.scalar(ALL) == 0
    with database.owner_session() as session:
        assert session.scalar(ALL) == 0
    with system_access("monthly report"), database.owner_session() as session:
        assert session.scalar(ALL) == 1
        assert session.scalar(text("SELECT reason FROM audit_events")) == "monthly report"
    assert database.pool_stats().maximum == 10


def test_without_an_owner_url_the_door_is_closed(make_database: Callable[..., Database]) -> None:
    """The application's own role never takes the owner's place."""
    with pytest.raises(SettingsError, match="DATABASE_OWNER_URL"):
        _ = make_database(database_owner_url=None).owner_engine
