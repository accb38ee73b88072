from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, func, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from app.db import tenancy
from app.db.repository import MIN_CANDIDATES, Repository
from app.models import EMBEDDING_DIMENSIONS, Business, Conversation, Form, Message, Organization, User

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.app.conftest import AppDatabase

ACME, GLOBEX = UUID(int=1), UUID(int=2)
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def tenants(app_database: AppDatabase) -> str:
    """Two organizations; the application role's SQLAlchemy URL."""
    with psycopg.connect(app_database.superuser_url) as connection:
        for identity, name in ((ACME, "acme"), (GLOBEX, "globex")):
            connection.execute("INSERT INTO organizations (id, slug, name) VALUES (%s, %s, %s)", (identity, name, name))
    return app_database.app_url.replace("postgresql://", "postgresql+psycopg://")


@pytest.fixture
def session(tenants: str) -> Iterator[Session]:
    """A session of the application role, for acme."""
    engine = create_engine(tenants)
    tenancy.install(engine)
    with tenancy.tenant_context(ACME), Session(engine) as session:
        yield session
        session.rollback()
    engine.dispose()


@pytest.fixture
def conversation(session: Session) -> Conversation:
    """A talk to put messages into."""
    user = Repository(session, User).insert(User(email="ada@acme.example", external_id="ada", name="Ada"))
    business = Repository(session, Business).insert(Business(user_id=user.id, name="Cakes"))
    return Repository(session, Conversation).insert(Conversation(business_id=business.id, title="Prices"))


def forms(count: int) -> list[dict[str, Any]]:
    """Values of forms, an hour apart, the newest last."""
    return [named(f"form {number}") | {"created_at": NOON + timedelta(hours=number)} for number in range(count)]


def named(title: str) -> dict[str, Any]:
    """The least that a form needs."""
    return {"title": title, "slug": title.lower().replace(" ", "-")}


def axis(number: int, lean: float = 0.0) -> list[float]:
    """A vector along one axis that leans towards the last one."""
    values = [0.0] * EMBEDDING_DIMENSIONS
    values[number], values[-1] = 1.0, lean
    return values


def test_a_row_by_id_until_it_is_deleted(session: Session) -> None:
    """Insert fills in what the server knows; find, update and delete go by the id."""
    repository = Repository(session, Form)
    form = repository.insert(Form(**named("Contact")))
    assert (form.tenant_id, repository.find_by_id(form.id)) == (ACME, form)
    changed = repository.update(form.id, title="Contact us")
    assert changed is form
    assert form.title == "Contact us"
    assert (repository.delete(form.id), repository.delete(form.id)) == (True, False)
    assert repository.find_by_id(form.id) is None
    assert repository.update(form.id, title="gone") is None


def test_a_user_is_found_by_the_address_however_it_is_written(session: Session) -> None:
    """The server keeps `email_key` in step with `email`, on insert, in bulk and on update."""
    repository = Repository(session, User)
    ada = repository.insert(User(email="Ada@Acme.example", external_id="ada", name="Ada"))
    repository.insert_many([{"email": "Eve@Acme.example", "external_id": "eve", "name": "Eve"}])
    assert (ada.email, ada.email_key) == ("Ada@Acme.example", "ada@acme.example")
    assert [user.name for user in repository.find_all(User.email_key == func.lower("EVE@acme.example"))] == ["Eve"]
    repository.update(ada.id, email="A.Lovelace@Acme.example")
    assert ada.email_key == "a.lovelace@acme.example"


def test_all_rows_come_newest_first(session: Session) -> None:
    """The limit counts from the newest, the offset skips, a condition filters."""
    repository = Repository(session, Form)
    repository.insert_many(forms(5))
    assert [form.title for form in repository.find_all(limit=2, offset=1)] == ["form 3", "form 2"]
    assert [form.title for form in repository.find_all(Form.title == "form 1")] == ["form 1"]
    assert repository.count() == 5


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(count=st.integers(0, 12), limit=st.integers(1, 7), same_time=st.booleans())
def test_pages_are_the_whole_in_order(session: Session, count: int, limit: int, same_time: bool) -> None:  # noqa: FBT001
    """However long the pages, and whether or not times tie, together they are every row once, newest first."""
    session.rollback()
    rows = [row | {"created_at": NOON} if same_time else row for row in forms(count)]
    repository = Repository(session, Form)
    repository.insert_many(rows)
    found: list[Form] = []
    after: str | None = None
    while not found or after:
        page = repository.find_page(limit=limit, after=after)
        assert len(page.rows) <= limit
        found += page.rows
        after = page.next
        if not page.rows:
            break
    assert found == list(repository.find_all(limit=count + 1))
    assert len(found) == count


def test_rows_inserted_meanwhile_do_not_move_the_next_page(session: Session) -> None:
    """A keyset page begins after the last row that was seen, whatever came before it since."""
    repository = Repository(session, Form)
    repository.insert_many(forms(4))
    first = repository.find_page(limit=2)
    repository.insert_many([named("newer") | {"created_at": NOON + timedelta(days=9)}])
    assert [form.title for form in repository.find_page(limit=2, after=first.next).rows] == ["form 1", "form 0"]


@pytest.mark.parametrize("cursor", ["", "x", "bm90aGluZw==", "MjAyNi0wMS0wMSBub3QtYW4taWQ=", "ü"])
def test_a_foreign_cursor_is_refused(session: Session, cursor: str) -> None:
    """What is no cursor is named in the error."""
    with pytest.raises(ValueError, match="is no cursor of an earlier page"):
        Repository(session, Form).find_page(after=cursor)


@pytest.mark.parametrize(("name", "value"), [("limit", 0), ("limit", -1), ("offset", -1)])
def test_bounds_are_checked(session: Session, name: str, value: int) -> None:
    """A limit below one or a negative offset is a mistake of the caller's."""
    arguments: dict[str, Any] = {name: value}
    with pytest.raises(ValueError, match=f"{name} must be at least"):
        Repository(session, Form).find_all(**arguments)


def test_many_rows_of_every_type(session: Session, conversation: Conversation) -> None:
    """Bulk-inserted uuid, text, jsonb, vector and time values read back as they were; None is NULL."""
    vector = [number / 8 for number in range(EMBEDDING_DIMENSIONS)]
    values = {"conversation_id": conversation.id, "role": "user", "content": "é \t\n\\"}
    rows: list[dict[str, Any]] = [
        values | {"meta": {"ü": [1, None, {"a": "b"}]}, "embedding": vector, "created_at": NOON},
        values | {"meta": {}, "embedding": None, "created_at": NOON - timedelta(microseconds=1)},
    ]
    repository = Repository(session, Message)
    assert repository.insert_many(iter(rows)) == 2
    newest, oldest = repository.find_all()
    assert (newest.meta, newest.content, newest.created_at) == ({"ü": [1, None, {"a": "b"}]}, "é \t\n\\", NOON)
    assert newest.embedding is not None
    assert list(newest.embedding) == vector
    assert (oldest.embedding, oldest.meta, oldest.tenant_id) == (None, {}, ACME)


def test_nothing_to_insert_is_nothing_done(session: Session) -> None:
    """No rows, no statement."""
    assert Repository(session, Form).insert_many([]) == 0


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"tilte": "x"}], "Form has no tilte"),
        ([{"title": "x", "id": ACME}, {"title": "y"}], "Every row needs what the first has, title, id; one has title"),
        ([{"title": "x"}, {"title": "y", "id": ACME}], "one has title, id"),
    ],
)
def test_rows_that_do_not_match_are_refused(session: Session, rows: list[dict[str, Any]], message: str) -> None:
    """A misspelt or missing attribute is named, and nothing is inserted."""
    with pytest.raises(ValueError, match=message):
        Repository(session, Form).insert_many(rows)


def test_bulk_rows_are_held_to_policies_and_constraints(session: Session, conversation: Conversation) -> None:
    """Another tenant's rows are refused as with any INSERT, and so is a role that does not exist."""
    row = {"conversation_id": conversation.id, "role": "user", "content": "x"}
    wrong: list[dict[str, Any]] = [{"tenant_id": GLOBEX}, {"role": "boss"}, {"conversation_id": uuid4()}]
    for values in wrong:
        with pytest.raises(DBAPIError), session.begin_nested():
            Repository(session, Message).insert_many([row | values])
    assert Repository(session, Message).count() == 0


def test_the_nearest_rows_in_order(session: Session, conversation: Conversation) -> None:
    """By cosine distance, with the distance; without those that have no embedding or that a condition excludes."""
    rows = [
        {"conversation_id": conversation.id, "role": role, "content": name, "embedding": embedding}
        for name, role, embedding in [
            ("same", "user", axis(0)),
            ("near", "user", axis(0, lean=0.5)),
            ("excluded", "assistant", axis(0, lean=0.1)),
            ("far", "user", axis(1)),
            ("none", "user", None),
        ]
    ]
    Repository(session, Message).insert_many(rows)
    found = Repository(session, Message).nearest(axis(0), Message.role == "user", limit=3)
    assert [neighbour.row.content for neighbour in found] == ["same", "near", "far"]
    assert [neighbour.distance for neighbour in found] == pytest.approx([0, 1 - 1 / 1.25**0.5, 1], abs=1e-6)


def test_a_small_tenant_finds_its_rows_behind_a_large_one_s(
    app_database: AppDatabase, session: Session, conversation: Conversation
) -> None:
    """Many nearer rows of another tenant do not use up what the index looks at."""
    ours = {"conversation_id": conversation.id, "role": "user", "content": "ours", "embedding": axis(0, lean=0.9)}
    Repository(session, Message).insert_many([ours] * 10)
    session.commit()
    with psycopg.connect(app_database.superuser_url) as connection:
        values = {"tenant": GLOBEX, "dimensions": EMBEDDING_DIMENSIONS, "count": 5 * MIN_CANDIDATES}
        connection.execute(_CROWD.encode(), values)
    for setting in ("enable_sort", "enable_seqscan", "enable_bitmapscan"):
        session.connection().exec_driver_sql(f"SET LOCAL {setting} = off")
    found = Repository(session, Message).nearest(axis(0), limit=10)
    assert [neighbour.row.content for neighbour in found] == ["ours"] * 10
    plan = session.scalars(text(f"EXPLAIN {_NEAREST}"), {"centre": str(axis(0))}).all()
    assert any("using ix_messages_embedding" in line for line in plan), plan


_NEAREST = "SELECT * FROM messages WHERE embedding IS NOT NULL ORDER BY embedding <=> CAST(:centre AS vector) LIMIT 10"
_CROWD = """
    WITH u AS (INSERT INTO users (tenant_id, email, external_id, name)
               VALUES (%(tenant)s, 'g@globex.example', 'g', 'G') RETURNING id),
         b AS (INSERT INTO businesses (tenant_id, user_id, name) SELECT %(tenant)s, id, 'B' FROM u RETURNING id),
         c AS (INSERT INTO conversations (tenant_id, business_id, title) SELECT %(tenant)s, id, 'C' FROM b RETURNING id)
    INSERT INTO messages (tenant_id, conversation_id, role, content, embedding)
    SELECT %(tenant)s, id, 'user', 'theirs', (SELECT array_agg(CASE d WHEN 1 THEN 1 ELSE sin(n * d) / 30 END ORDER BY d)
                                              FROM generate_series(1, %(dimensions)s) AS d)::vector
    FROM c, generate_series(1, %(count)s) AS n
"""


def test_a_model_without_embedding_cannot_be_searched(session: Session) -> None:
    """The error names the model."""
    with pytest.raises(TypeError, match="Form has no embedding"):
        Repository(session, Form).nearest(axis(0))


def test_other_tenants_rows_do_not_exist(tenants: str) -> None:
    """By id, in lists, counts and changes."""
    engine = create_engine(tenants)
    tenancy.install(engine)
    with tenancy.tenant_context(ACME), Session(engine) as session:
        identity = Repository(session, Form).insert(Form(**named("Ours"))).id
        session.commit()
    with tenancy.tenant_context(GLOBEX), Session(engine) as other:
        repository = Repository(other, Form)
        assert repository.find_by_id(identity) is None
        assert (list(repository.find_all()), repository.count()) == ([], 0)
        assert repository.update(identity, title="Theirs") is None
        assert repository.delete(identity) is False
    engine.dispose()


def test_an_asynchronous_session_uses_the_same_repository(tenants: str) -> None:
    """Within `run_sync` everything works, the bulk insert included."""

    async def work() -> tuple[int, int]:
        engine = create_async_engine(tenants)
        tenancy.install(engine.sync_engine)
        with tenancy.tenant_context(GLOBEX):
            async with AsyncSession(engine) as session:
                written = await session.run_sync(lambda sync: Repository(sync, Form).insert_many(forms(3)))
                found = await session.scalar(select(func.count()).select_from(Form))
        await engine.dispose()
        return written, found or 0

    assert asyncio.run(work()) == (3, 3)


def test_only_the_own_organization_is_there(session: Session) -> None:
    """An organization is a tenant's row like any other: the tenant's own one."""
    assert [row.slug for row in Repository(session, Organization).find_all()] == ["acme"]
