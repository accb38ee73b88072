"""The audit trail, and the system's door that writes to it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest
from sqlalchemy import create_engine, delete, insert, select, text, update
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.orm import Session

from app import audit
from app.db import tenancy
from app.db.tenancy import system_access, tenant_context
from app.errors import TenantError
from app.models import AuditEvent, Organization, User

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

    from tests.app.conftest import AppDatabase

HASH = "$scrypt$ln=14$never-to-be-written-down"


@pytest.fixture
def engine(app_database: AppDatabase) -> Iterator[Engine]:
    """The application role's engine."""
    engine = create_engine(app_database.app_url)
    tenancy.install(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def owner(app_database: AppDatabase) -> Iterator[Engine]:
    """The owner role's engine, where the door is."""
    engine = create_engine(app_database.owner_url)
    tenancy.install(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def user(engine: Engine) -> User:
    """The one user of an organization."""
    tenant = uuid4()
    with tenant_context(tenant), Session(engine, expire_on_commit=False) as session, session.begin():
        session.add(Organization(id=tenant, slug="acme", name="Acme"))
        session.flush()
        user = User(id=uuid4(), email="ada@acme.example", name="Ada", password_hash=HASH)
        session.add(user)
    return user


def trail(engine: Engine, tenant: UUID | None = None) -> list[AuditEvent]:
    """All events that a tenant can see, or, without one, the system."""
    statement = select(AuditEvent).order_by(AuditEvent.created_at)
    if tenant:
        with tenant_context(tenant), Session(engine, expire_on_commit=False) as session:
            return list(session.scalars(statement))
    with system_access("reading the trail in a test"), Session(engine, expire_on_commit=False) as session:
        return list(session.scalars(statement))


def test_a_change_and_its_event_are_committed_together(engine: Engine, user: User) -> None:
    """The event says who did what to which row, with old and new values, and shows no secret."""
    actor, seen = uuid4(), datetime(2025, 5, 1, tzinfo=UTC)
    with tenant_context(user.tenant_id), Session(engine) as session, session.begin():
        found = session.get_one(User, user.id)
        found.role, found.last_login_at, found.password_hash = "admin", seen, "$scrypt$another"
        audit.record(session, "user.promoted", found, actor_id=actor, reason="replaces Bob")
    (event,) = trail(engine, user.tenant_id)
    assert (event.action, event.subject_table, event.subject_id) == ("user.promoted", "users", user.id)
    assert (event.tenant_id, event.actor_id, event.reason) == (user.tenant_id, actor, "replaces Bob")
    assert event.changes == {
        "role": ["user", "admin"],
        "last_login_at": [None, str(seen)],
        "password_hash": ["(hidden)", "(hidden)"],
    }


def test_a_change_that_is_rolled_back_leaves_no_event(engine: Engine, user: User) -> None:
    """And an event that cannot be written takes the change with it."""
    with tenant_context(user.tenant_id), Session(engine) as session:
        audit.record(session, "user.renamed", session.get_one(User, user.id))
        session.flush()
        session.rollback()
    with tenant_context(user.tenant_id), Session(engine) as session:
        session.get_one(User, user.id).name = "Eve"
        audit.record(session, "Not An Action")
        with pytest.raises(IntegrityError, match="ck_audit_events_action_format"):
            session.commit()
    with tenant_context(user.tenant_id), Session(engine) as session:
        assert session.scalars(select(User.name)).all() == ["Ada"]
    assert trail(engine, user.tenant_id) == []


def test_a_subject_needs_its_id(engine: Engine) -> None:
    """An event that names no row would be no trail."""
    with Session(engine) as session, pytest.raises(ValueError, match="no id before it is flushed"):
        audit.record(session, "user.added", User(email="bob@acme.example", name="Bob"))


def test_an_event_is_for_good(engine: Engine, owner: Engine, user: User) -> None:
    """Neither the tenant nor the system can change or delete one, nor write one in another tenant's name."""
    with tenant_context(user.tenant_id), Session(engine) as session, session.begin():
        audit.record(session, "user.checked", user)
    for statement in (update(AuditEvent).values(reason="edited"), delete(AuditEvent)):
        with tenant_context(user.tenant_id), engine.begin() as connection:
            assert connection.execute(statement).rowcount == 0
        with system_access("trying to rewrite history"), owner.begin() as connection:
            assert connection.execute(statement).rowcount == 0
    assert len(trail(engine, user.tenant_id)) == 1
    with tenant_context(uuid4()), pytest.raises(DBAPIError, match="row-level security"), engine.begin() as connection:
        connection.execute(insert(AuditEvent).values(tenant_id=user.tenant_id, action="forged"))


def test_the_trail_outlives_the_organization(engine: Engine, owner: Engine, user: User) -> None:
    """Deleting a tenant deletes all it owns but what was recorded about it."""
    with tenant_context(user.tenant_id), Session(engine) as session, session.begin():
        audit.record(session, "organization.left", session.get_one(Organization, user.tenant_id))
        session.execute(delete(Organization))
    assert [event.action for event in trail(owner)] == ["organization.left", "system_access"]


@pytest.mark.usefixtures("user")
def test_the_owner_sees_nothing_without_the_door(owner: Engine) -> None:
    """Row-level security is forced: owning the tables is no way around it."""
    with Session(owner) as session:
        assert session.scalars(select(User.name)).all() == []


def test_the_door_opens_all_tenants_and_is_recorded(owner: Engine, engine: Engine, user: User) -> None:
    """The reason is in the trail, in the very transaction that used the door; a rollback takes both back."""
    with system_access("support case 4711"), Session(owner) as session:
        assert session.scalars(select(User.name)).all() == ["Ada"]
        session.execute(update(User).values(name="Eve"))
        session.rollback()
    with system_access("support case 4712"), Session(owner) as session, session.begin():
        session.execute(update(User).values(name="Grace"))
    with tenant_context(user.tenant_id), Session(engine) as session:
        assert session.scalars(select(User.name)).all() == ["Grace"]
    events = trail(owner)
    assert [(event.action, event.tenant_id, event.reason) for event in events] == [
        ("system_access", None, "support case 4712"),
        ("system_access", None, "reading the trail in a test"),
    ]


@pytest.mark.usefixtures("user")
def test_the_door_closes_with_the_transaction(owner: Engine) -> None:
    """The next transaction on the same connection sees nothing again, and so does one that outlives the block."""
    with Session(owner) as session:
        with system_access("a moment"):
            assert session.scalars(select(User.name)).all() == ["Ada"]
        with pytest.raises(TenantError, match="with system access"):
            session.scalars(select(User.name))
        session.rollback()
        assert session.scalars(select(User.name)).all() == []


@pytest.mark.usefixtures("user")
def test_the_application_s_engine_has_no_door(engine: Engine) -> None:
    """There the door is refused in words; and the setting behind it opens nothing for that role."""
    with system_access("mistaken"), pytest.raises(TenantError, match="owner_session"), engine.begin():
        pytest.fail("opened")
    with engine.begin() as connection:
        connection.execute(text("SELECT set_config('app.system_access', 'forged', true)"))
        assert connection.scalars(select(User.name)).all() == []


def test_system_access_within_a_tenant_names_the_tenant(owner: Engine, user: User) -> None:
    """Whose rows were meant is in the trail where it is known."""
    with tenant_context(user.tenant_id), system_access("merging accounts"), owner.begin() as connection:
        assert connection.scalars(select(AuditEvent.tenant_id)).all() == [user.tenant_id]


@pytest.mark.parametrize("reason", ["", "  ", "x" * 501])
def test_the_door_needs_a_reason(reason: str) -> None:
    """Blank reasons and essays are refused."""
    with pytest.raises(TenantError, match="reason"), system_access(reason):
        pytest.fail("entered")


def test_one_reason_at_a_time() -> None:
    """A second door for another reason is refused: its transaction would be recorded under the first."""
    with (
        system_access("first"),
        system_access("first"),
        pytest.raises(TenantError, match="first"),
        system_access("2nd"),
    ):
        pytest.fail("entered")
