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
from tests.app.db.attacks import LEDGER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

    from tests.app.conftest import AppDatabase


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many attempts there were: a suite that tried nothing would pass as well."""
    if LEDGER.attempts:
        terminalreporter.write_line(f"tenant isolation: attempts {LEDGER.attempts}, leaks {len(LEDGER.leaks)}")


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
