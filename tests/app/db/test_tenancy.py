"""Tenant contexts and the transactions that carry them, on a real server."""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.pq import TransactionStatus
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import Session

from app.db import tenancy
from app.db.tenancy import current_tenant, tenant_context
from app.errors import TenantError
from app.models import Organization

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine

    from tests.app.conftest import AppDatabase

SLUGS = text("SELECT slug FROM organizations ORDER BY slug")


def found(engine: Engine, tenant: UUID | None) -> list[str]:
    """The organizations that a transaction for a tenant, or for none, can see."""
    with ExitStack() as stack:
        if tenant:
            stack.enter_context(tenant_context(tenant))
        with engine.begin() as connection:
            return list(connection.scalars(SLUGS))


def test_one_connection_serves_many_tenants_and_none(engine: Engine, tenants: tuple[UUID, UUID]) -> None:
    """A, B, nobody, A on the same pooled connection: each sees its own rows and nobody sees none."""
    one, other = tenants
    assert [found(engine, tenant) for tenant in (one, other, None, one)] == [["acme"], ["globex"], [], ["acme"]]


def test_a_setting_left_on_the_connection_opens_nothing(engine: Engine, tenants: tuple[UUID, UUID]) -> None:
    """Somebody's session-wide SET of a tenant is overruled by every transaction that follows."""
    with engine.begin() as connection:
        connection.execute(text("SELECT set_config('app.tenant_id', :id, false)"), {"id": str(tenants[0])})
    assert found(engine, None) == []
    assert found(engine, tenants[1]) == ["globex"]


def test_without_a_tenant_nothing_can_be_written(engine: Engine) -> None:
    """An insert outside a tenant context is refused."""
    with pytest.raises(DBAPIError, match="row-level security"), Session(engine) as session, session.begin():
        session.add(Organization(slug="nobody", name="Nobody"))


def test_a_context_for_another_tenant_is_refused_inside_one() -> None:
    """Contexts nest for the same tenant only, and the outer one is what remains."""
    one, other = uuid4(), uuid4()
    with tenant_context(one), tenant_context(one):
        with pytest.raises(TenantError, match=f"tenant {one} is going on"), tenant_context(other):
            pytest.fail("entered")
        assert current_tenant() == one
    assert current_tenant() is None


@pytest.mark.parametrize("nonsense", ["", "acme", "5f4b5d1e-0000-4000-8000-000000000000", None, 7])
def test_a_tenant_is_a_uuid(nonsense: Any) -> None:
    """Anything else is refused before it can get near SQL."""
    with pytest.raises(TenantError, match="UUID"), tenant_context(nonsense):
        pytest.fail("entered")


def test_a_transaction_stays_with_its_tenant(engine: Engine, tenants: tuple[UUID, UUID]) -> None:
    """Statements from outside the context, or from another tenant's, are refused on an open transaction."""
    one, other = tenants
    with Session(engine) as session:
        with tenant_context(one):
            assert session.scalars(select(Organization.slug)).all() == ["acme"]
        with pytest.raises(TenantError, match=f"begun for tenant {one}.*no tenant"):
            session.scalars(select(Organization.slug))
        with tenant_context(other), pytest.raises(TenantError, match=f"context for tenant {other}"):
            session.execute(text("SELECT 1"))
        session.rollback()
        with tenant_context(other):
            assert session.scalars(select(Organization.slug)).all() == ["globex"]


def test_a_context_does_not_reach_back(engine: Engine, tenants: tuple[UUID, UUID]) -> None:
    """A transaction begun for nobody is not handed to a tenant later."""
    with engine.begin() as connection:
        connection.execute(text("SELECT 1"))
        with tenant_context(tenants[0]), pytest.raises(TenantError, match="begun for no tenant"):
            connection.execute(SLUGS)


def test_savepoints_keep_the_tenant(engine: Engine, tenants: tuple[UUID, UUID]) -> None:
    """Rolling back to a savepoint, and starting over after it, changes nothing about the tenant."""
    with tenant_context(tenants[0]), Session(engine) as session, session.begin():
        nested = session.begin_nested()
        session.execute(text("UPDATE organizations SET name = 'Changed'"))
        nested.rollback()
        with session.begin_nested():
            assert session.scalars(select(Organization.name)).all() == ["Acme"]


def test_autocommit_cannot_work_for_a_tenant(engine: Engine, tenants: tuple[UUID, UUID]) -> None:
    """It is refused rather than answered with nothing; without a tenant it works and sees nothing."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        with tenant_context(tenants[0]), pytest.raises(TenantError, match="autocommit"):
            connection.execute(SLUGS)
        assert connection.scalars(SLUGS).all() == []
        driver: Any = connection.connection.driver_connection
        assert driver.info.transaction_status == TransactionStatus.IDLE


@pytest.mark.parametrize("level", ["SERIALIZABLE", "REPEATABLE READ"])
def test_isolation_levels_are_kept(engine: Engine, tenants: tuple[UUID, UUID], level: str) -> None:
    """Telling the tenant does not cost the isolation level that was asked for."""
    with tenant_context(tenants[0]), engine.connect().execution_options(isolation_level=level) as connection:
        assert connection.scalar(text("SHOW transaction_isolation")) == level.lower()
        assert connection.scalars(SLUGS).all() == ["acme"]


def end_backend(url: str, driver: psycopg.Connection[Any]) -> None:
    """The server ends the session, and says so."""
    with psycopg.connect(url) as administrator:
        administrator.execute("SELECT pg_terminate_backend(%s, 5000)", [driver.info.backend_pid])


def cut_socket(_url: str, driver: psycopg.Connection[Any]) -> None:
    """The network goes away without a word."""
    with socket.socket(fileno=os.dup(driver.pgconn.socket)) as wire:
        wire.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("lose", [end_backend, cut_socket])
def test_a_lost_connection_is_reported_by_sqlalchemy(
    app_database: AppDatabase,
    engine: Engine,
    tenants: tuple[UUID, UUID],
    lose: Callable[[str, Any], None],
) -> None:
    """A session that was lost between two transactions is a DBAPIError that says so, and the next one works."""
    with engine.connect() as connection:
        driver = connection.connection.driver_connection
    lose(app_database.superuser_url, driver)
    with pytest.raises(DBAPIError) as caught:
        found(engine, tenants[0])
    assert caught.value.connection_invalidated
    assert found(engine, tenants[0]) == ["acme"]


def test_tasks_of_one_loop_keep_apart(app_database: AppDatabase, tenants: tuple[UUID, UUID]) -> None:
    """Fifty tasks for two tenants take turns on two connections, and each sees its own rows at every step."""

    async def work() -> list[list[str]]:
        engine = create_async_engine(app_database.app_url, pool_size=2, max_overflow=0)
        tenancy.install(engine.sync_engine)

        async def task(tenant: UUID) -> list[str]:
            with tenant_context(tenant):
                async with engine.begin() as connection:
                    before = (await connection.scalars(SLUGS)).all()
                    await asyncio.sleep(0)
                    return [*before, *(await connection.scalars(SLUGS)).all()]

        seen = await asyncio.gather(*(task(tenants[number % 2]) for number in range(50)))
        async with engine.begin() as connection:
            seen.append(list((await connection.scalars(SLUGS)).all()))
        await engine.dispose()
        return seen

    assert asyncio.run(work()) == [*[["acme"] * 2, ["globex"] * 2] * 25, []]


def test_installing_twice_is_installing_once(engine: Engine) -> None:
    """A second install adds no second round trip."""
    before = list(engine.dispatch.begin)
    tenancy.install(engine)
    assert list(engine.dispatch.begin) == before
