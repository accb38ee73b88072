"""The application's schema and seeds on a real server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from alembic import command
from psycopg import errors

from app.seeds import SIZES, TABLES, embeddings, seed, users
from tests.alembic_calls import alembic_config, fresh_database

if TYPE_CHECKING:
    from collections.abc import Iterator

NOTHING = {table.name: 0 for table in TABLES}
APP_TABLES = {table.name for table in TABLES}


@pytest.fixture(scope="module")
def database_url(postgres_superuser_url: str) -> Iterator[str]:
    """A database at head, without rows; tests that write roll back."""
    with fresh_database(postgres_superuser_url) as url:
        command.upgrade(alembic_config(url), "head")
        yield url


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    """A transaction on the database at head, rolled back afterwards."""
    with psycopg.connect(database_url) as connection:
        yield connection
        connection.rollback()


@pytest.fixture
def seeded(connection: psycopg.Connection[Any]) -> psycopg.Connection[Any]:
    """The small seed, uncommitted."""
    seed(connection)
    return connection


def value(connection: psycopg.Connection[Any], query: str, *arguments: object) -> Any:
    """The first column of the first row."""
    row = connection.execute(query.encode(), arguments).fetchone()
    assert row
    return row[0]


def indexes(connection: psycopg.Connection[Any]) -> set[tuple[str, bool]]:
    """Definition and validity of every index of the application."""
    query = "SELECT pg_get_indexdef(indexrelid), indisvalid FROM pg_index WHERE indrelid = ANY(%s::regclass[])"
    return set(connection.execute(query, [sorted(APP_TABLES)]).fetchall())


def add_organization(connection: psycopg.Connection[Any], slug: str = "foreign") -> Any:
    """A row that no seed wrote; its id."""
    return value(connection, "INSERT INTO organizations (slug, name) VALUES (%s, 'Foreign') RETURNING id", slug)


def add_user(connection: psycopg.Connection[Any], organization: object, email: str) -> Any:
    """A user that no seed wrote; its id."""
    insert = "INSERT INTO users (tenant_id, email, password_hash, name) VALUES (%s, %s, 'x', 'X') RETURNING id"
    return value(connection, insert, organization, email)


@pytest.mark.parametrize(
    "email", ["ada", "ada@acme", "a da@acme.example", "ada@@acme.example", "ada@acme.", "a" * 250 + "@a.example"]
)
def test_a_malformed_email_is_refused(connection: psycopg.Connection[Any], email: str) -> None:
    """The database checks the format, whoever writes."""
    organization = add_organization(connection)
    with pytest.raises(errors.CheckViolation, match="ck_users_email_format"):
        add_user(connection, organization, email)


def test_an_email_is_unique_without_regard_to_case(connection: psycopg.Connection[Any]) -> None:
    """One address, one account."""
    organization = add_organization(connection)
    add_user(connection, organization, "Ada@Foreign.example")
    with pytest.raises(errors.UniqueViolation, match="uq_users_email_key"):
        add_user(connection, organization, "ada@foreign.EXAMPLE")


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ("role = 'boss'", "ck_users_role"),
        ("external_id = NULL, password_hash = NULL", "ck_users_can_log_in"),
        ("external_id = (SELECT max(external_id) FROM users WHERE tenant_id <> u.tenant_id)", "uq_users_external_id"),
        ("email = (SELECT max(email) FROM users WHERE tenant_id <> u.tenant_id)", "uq_users_email_key"),
    ],
)
def test_what_a_user_cannot_be_is_refused(seeded: psycopg.Connection[Any], change: str, rule: str) -> None:
    """The constraint that is broken is named; what is unique is so over all organizations."""
    with pytest.raises(errors.IntegrityError, match=rule):
        seeded.execute(f"UPDATE users AS u SET {change} WHERE email = 'ada@acme.example'".encode())


def test_what_a_row_does_not_bring_it_is_given(connection: psycopg.Connection[Any]) -> None:
    """A new user is no admin and has never logged in; a new business is an idea of which nothing is known."""
    organization = add_organization(connection)
    user = add_user(connection, organization, "ada@foreign.example")
    assert value(connection, "SELECT (role, last_login_at)::text FROM users WHERE id = %s", user) == "(user,)"
    insert = "INSERT INTO businesses (tenant_id, user_id, name) VALUES (%s, %s, 'X') RETURNING (stage, context)::text"
    assert value(connection, insert, organization, user) == "(idea,{})"


LOOKED_FOR = [
    ("businesses", "user_id"),
    ("conversations", "business_id"),
    ("messages", "conversation_id"),
    ("messages", "created_at"),
    ("users", "email_key"),
    ("users", "external_id"),
]


@pytest.mark.parametrize(("table", "column"), LOOKED_FOR)
def test_what_is_looked_for_leads_an_index(connection: psycopg.Connection[Any], table: str, column: str) -> None:
    """Parents' and users' columns, and the time of a message, across tenants too."""
    leading = "SELECT count(*) FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = indkey[0]"
    assert value(connection, f"{leading} WHERE attrelid = %s::regclass AND attname = %s", table, column)


def test_an_unknown_role_is_refused(seeded: psycopg.Connection[Any]) -> None:
    """A message is the user's, the assistant's or the system's."""
    with pytest.raises(errors.CheckViolation, match="ck_messages_role"):
        seeded.execute("UPDATE messages SET role = 'robot'")


def test_deleting_an_organization_deletes_what_it_owns(seeded: psycopg.Connection[Any]) -> None:
    """Rows go with their owner, through every table, and no other organization's do."""
    seeded.execute("DELETE FROM organizations WHERE slug = 'acme'")
    left = {
        name: value(seeded, f"SELECT count(DISTINCT tenant_id) FROM {name}") for name in APP_TABLES - {"organizations"}
    }
    assert set(left.values()) == {2}


@pytest.mark.parametrize(
    ("parent", "child"), [("users", "businesses"), ("businesses", "conversations"), ("conversations", "messages")]
)
def test_deleting_a_parent_deletes_its_children(seeded: psycopg.Connection[Any], parent: str, child: str) -> None:
    """Foreign keys cascade."""
    seeded.execute(f"DELETE FROM {parent}".encode())
    assert value(seeded, f"SELECT count(*) FROM {child}") == 0


@pytest.mark.parametrize("table", ["organizations", "users", "businesses", "conversations"])
def test_an_update_moves_updated_at(seeded: psycopg.Connection[Any], table: str) -> None:
    """A change sets `updated_at` to the transaction's time; an update that changes nothing does not."""
    column = "title" if table == "conversations" else "name"
    moved = f"SELECT count(*) FROM {table} WHERE updated_at = now()"
    seeded.execute(f"UPDATE {table} SET {column} = {column}".encode())
    assert value(seeded, moved) == 0
    seeded.execute(f"UPDATE {table} SET {column} = {column} || '!'".encode())
    assert value(seeded, moved) == value(seeded, f"SELECT count(*) FROM {table}")


def test_a_nearest_query_uses_the_index_and_finds_the_topic(seeded: psycopg.Connection[Any]) -> None:
    """The HNSW index answers `ORDER BY embedding <=> …`, and a topic's centre finds that topic."""
    seeded.execute("SET LOCAL enable_seqscan = off")
    query = "SELECT metadata->>'topic' FROM messages ORDER BY embedding <=> %s::text::vector LIMIT 10"
    centre = str(embeddings.centre("pricing"))
    plan = "\n".join(row[0] for row in seeded.execute("EXPLAIN " + query, [centre]).fetchall())
    assert "ix_messages_embedding" in plan
    assert {row[0] for row in seeded.execute(query, [centre]).fetchall()} == {"pricing"}


def test_the_first_seeding_writes_every_row(connection: psycopg.Connection[Any]) -> None:
    """As many rows are written as the tables say there are, and are there afterwards."""
    written = seed(connection)
    assert written == {table.name: table.count("small") for table in TABLES}
    assert written == {name: value(connection, f"SELECT count(*) FROM {name}") for name in written}


def test_the_second_seeding_writes_nothing(seeded: psycopg.Connection[Any]) -> None:
    """Seeding is idempotent, and not by writing the same rows again."""
    before = value(seeded, "SELECT array_agg(ctid ORDER BY id) FROM messages")
    assert seed(seeded) == NOTHING
    assert value(seeded, "SELECT array_agg(ctid ORDER BY id) FROM messages") == before


def test_the_indexes_are_as_they_were(seeded: psycopg.Connection[Any]) -> None:
    """The indexes that the load drops come back, valid, with their names and definitions."""
    after = indexes(seeded)
    seeded.rollback()
    assert after == indexes(seeded)
    assert all(valid for _, valid in after)


def test_seeding_commits_nothing(connection: psycopg.Connection[Any]) -> None:
    """The caller decides."""
    seed(connection)
    connection.rollback()
    assert value(connection, "SELECT count(*) FROM organizations") == 0


def test_changed_and_deleted_rows_are_restored(seeded: psycopg.Connection[Any]) -> None:
    """Seeding again writes just the rows that differ."""
    seeded.execute("UPDATE users SET name = 'Somebody' WHERE email = 'ada@acme.example'")
    seeded.execute(
        "UPDATE messages SET embedding = NULL WHERE id = (SELECT id FROM messages WHERE role = 'user' LIMIT 1)"
    )
    seeded.execute("DELETE FROM messages WHERE id = (SELECT id FROM messages WHERE role = 'assistant' LIMIT 1)")
    assert seed(seeded) == {**NOTHING, "users": 1, "messages": 2}
    assert seed(seeded) == NOTHING


def test_rows_of_others_are_left_alone(seeded: psycopg.Connection[Any]) -> None:
    """What no seed wrote stays, and is counted where it belongs to a seeded conversation."""
    insert = "INSERT INTO messages (tenant_id, conversation_id, role, content)"
    seeded.execute(f"{insert} SELECT tenant_id, id, 'user', 'Mine' FROM conversations LIMIT 1".encode())
    assert seed(seeded) == {**NOTHING, "conversations": 1}
    assert value(seeded, "SELECT count(*) FROM messages WHERE content = 'Mine'") == 1
    counted = "(SELECT count(*) FROM messages WHERE conversation_id = conversations.id)"
    wrong = f"SELECT count(*) FROM conversations WHERE message_count <> {counted}"
    assert value(seeded, wrong) == 0


def test_a_larger_size_extends_a_smaller_one(
    connection: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is there stays, what the size adds is written, and the smaller size then has nothing to do."""
    monkeypatch.setitem(SIZES, "one", 1)
    first = seed(connection, size="one")
    second = seed(connection, size="small")
    assert {name: first[name] + second[name] for name in first} == {
        table.name: table.count("small") for table in TABLES
    }
    assert seed(connection, size="one") == NOTHING


def test_progress_is_told_from_nothing_to_all(connection: psycopg.Connection[Any]) -> None:
    """Every table is reported at its beginning and at its end, in the order of writing."""
    told: list[tuple[str, int, int]] = []
    seed(connection, progress=lambda *report: told.append(report))
    ends = [(table.name, done, table.count("small")) for table in TABLES for done in (0, table.count("small"))]
    assert told == ends


def test_a_connection_that_commits_by_itself_is_refused(database_url: str) -> None:
    """Half a seeding could stay behind."""
    with (
        psycopg.connect(database_url, autocommit=True) as connection,
        pytest.raises(ValueError, match="autocommit off"),
    ):
        seed(connection)


def test_a_taken_address_is_an_error(connection: psycopg.Connection[Any]) -> None:
    """Seeding never takes an address from a row that is not its own."""
    add_user(connection, add_organization(connection), "ADA@acme.example")
    with pytest.raises(errors.UniqueViolation, match="uq_users_email_key"):
        seed(connection)


def test_every_sample_user_has_the_documented_password(seeded: psycopg.Connection[Any]) -> None:
    """One hash for all, so that one password opens every account."""
    assert value(seeded, "SELECT array_agg(DISTINCT password_hash) FROM users") == [users.PASSWORD_HASH]
