"""Engines of one connection each, so that every transaction follows another on it, and two tenants."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from app.db import tenancy
from app.db.tenancy import tenant_context
from app.models import Organization
from tests.app.db.attacks import ISOLATION, Ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Engine

    from tests.app.conftest import AppDatabase


@pytest.fixture
def ledger(record_property: Callable[[str, object], None]) -> Iterator[Ledger]:
    """What this test tries; the run's summary adds up the attempts of all tests."""
    ledger = Ledger()
    yield ledger
    record_property(ISOLATION, (ledger.attempts, len(ledger.leaks)))


@contextmanager
def one_connection(url: str) -> Iterator[Engine]:
    """An engine whose transactions all share one connection."""
    engine = create_engine(url, pool_size=1, max_overflow=0, pool_timeout=5)
    tenancy.install(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def engine(app_database: AppDatabase) -> Iterator[Engine]:
    """The application role's engine."""
    with one_connection(app_database.app_url) as engine:
        yield engine


@pytest.fixture
def owner(app_database: AppDatabase) -> Iterator[Engine]:
    """The owner role's engine."""
    with one_connection(app_database.owner_url) as engine:
        yield engine


@pytest.fixture
def tenants(engine: Engine) -> tuple[UUID, UUID]:
    """Two organizations, each added by itself."""
    made = uuid4(), uuid4()
    for tenant, slug in zip(made, ("acme", "globex"), strict=True):
        with tenant_context(tenant), Session(engine) as session, session.begin():
            session.add(Organization(id=tenant, slug=slug, name=slug.title()))
    return made
