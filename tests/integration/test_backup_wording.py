"""Backups of what a server words otherwise once it has read it, and of databases with settings of their own."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import psycopg
import pytest

from drydock import postgres
from drydock.backup import dump
from drydock.errors import DrydockError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drydock.backup.catalogue import Entry
    from tests.checkout import Checkout

VARYING = "s varchar CHECK (s IN ('a', 'b, ]'))"
# Each is the owner's, but for those of the superuser.
WORDED_TWICE = (
    f"CREATE TABLE t.checked ({VARYING}, n int DEFAULT length(('x'::varchar)::text))",
    "CREATE INDEX ON t.checked (n) WHERE s IN ('a', 'c')",
    "CREATE VIEW t.few AS SELECT * FROM t.checked WHERE s IN ('a', 'c')",
    "CREATE DOMAIN t.word AS varchar CHECK (value IN ('a', 'b'))",
    "ALTER TABLE t.checked ENABLE ROW LEVEL SECURITY",
    "CREATE POLICY fitting ON t.checked USING (s IN ('a', 'b'))",
    "INSERT INTO t.checked VALUES ('a', 1)",
    # Rights that are those by default once more, written down.
    "GRANT SELECT ON t.checked TO app",
    "REVOKE ALL ON t.checked FROM app",
    "CREATE FUNCTION t.one() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "REVOKE EXECUTE ON FUNCTION t.one() FROM public",
    "GRANT EXECUTE ON FUNCTION t.one() TO public",
    "GRANT USAGE ON SCHEMA t TO app",
    "REVOKE USAGE ON SCHEMA t FROM app",
    # Object ids within arrays and domains.
    "CREATE TYPE t.mood AS ENUM ('sad', 'glad')",
    "CREATE DOMAIN t.relation AS regclass",
    "CREATE DOMAIN t.moods AS t.mood[]",
    "CREATE TABLE t.ids (a regclass[], b t.relation, c t.moods)",
    "INSERT INTO t.ids VALUES ('{t.checked}', 't.checked', '{glad}')",
)


@contextmanager
def holding(shop: Checkout, table: str) -> Iterator[None]:
    """Somebody called `the holder` lets nobody read a table."""
    environment = shop.environment
    with postgres.connect(environment, environment.owner, autocommit=False) as connection:
        connection.execute("SET application_name = 'the holder'")
        connection.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE".encode())
        yield
        connection.rollback()


def backed_up(shop: Checkout) -> Entry:
    """A backup made in this process."""
    return dump.make(shop.environment, dump.Request(), now=datetime.now(UTC), progress=lambda *_: None)


@pytest.fixture
def shop(scratch: Checkout) -> Iterator[Checkout]:
    """A shared checkout with an empty schema `t`, put back at the end."""
    scratch.run("up")
    scratch.query("CREATE SCHEMA t", role="owner")
    yield scratch
    scratch.run("up")
    scratch.run("reset")


def make(shop: Checkout, *statements: str, role: str = "owner") -> None:
    for statement in statements:
        shop.query(statement, role=role)


def test_what_a_server_words_in_two_ways_is_proven_and_restored(shop: Checkout) -> None:
    """Checks, indexes, views, policies with IN lists of varchar; rights by default; ids within arrays and domains."""
    make(shop, *WORDED_TWICE)
    made = shop.json("backup")
    assert made["proven"]
    shop.run("restore", made["name"], "--yes")
    assert shop.query("SELECT s, n FROM t.few") == [("a", 1)]
    assert shop.query("SELECT a::text, b::text, c::text FROM t.ids") == [("{t.checked}", "t.checked", "{glad}")]
    shop.run("backup.verify")


def test_an_index_that_could_not_be_built_is_no_obstacle(shop: Checkout) -> None:
    """What CREATE INDEX CONCURRENTLY left, which no dump has: the backup is proven and restores without it."""
    make(shop, "CREATE TABLE t.twice (i int)", "INSERT INTO t.twice VALUES (1), (1)")
    with pytest.raises(psycopg.errors.UniqueViolation, match="could not create unique index"):
        shop.query("CREATE UNIQUE INDEX CONCURRENTLY u ON t.twice (i)", role="owner")
    name = shop.json("backup")["name"]
    shop.run("restore", name, "--yes")
    assert shop.query("SELECT count(*) FROM pg_indexes WHERE schemaname = 't'") == [(0,)]


GRAB = """CREATE FUNCTION t.grab(int) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN
    IF current_setting('is_superuser') = 'on' THEN EXECUTE 'ALTER ROLE app SUPERUSER'; END IF; RETURN true; END $$"""


def test_aggregates_and_ranges_are_the_owners_to_restore(shop: Checkout) -> None:
    """Their presence is no reason to load a dump as the superuser, whose rights its functions would have."""
    make(
        shop,
        "CREATE AGGREGATE t.total(int) (sfunc = int4pl, stype = int)",
        "CREATE TYPE t.span AS RANGE (subtype = float8)",
        GRAB,
        "CREATE TABLE t.bait (i int CHECK (t.grab(i)))",
        "INSERT INTO t.bait VALUES (1)",
    )
    made = shop.json("backup")
    assert made["proven"]
    assert shop.query("SELECT rolsuper FROM pg_roles WHERE rolname = 'app'") == [(False,)]


@pytest.mark.parametrize(
    "privileged",
    [
        "CREATE FUNCTION t.quiet() RETURNS int LANGUAGE sql SET log_min_messages = 'error' AS 'SELECT 1'",
        "CREATE OPERATOR FAMILY t.family USING btree",
    ],
    ids=["setting", "operators"],
)
def test_what_only_a_superuser_creates_is_restored_with_forced_row_security(shop: Checkout, privileged: str) -> None:
    """The superuser loads such a database, materialized views over tables with forced row-level security included."""
    make(
        shop,
        "CREATE TABLE t.rows (i int)",
        "ALTER TABLE t.rows ENABLE ROW LEVEL SECURITY",
        "ALTER TABLE t.rows FORCE ROW LEVEL SECURITY",
        "CREATE POLICY every ON t.rows USING (true)",
        "INSERT INTO t.rows VALUES (1)",
        "CREATE MATERIALIZED VIEW t.seen AS SELECT * FROM t.rows",
    )
    kind = privileged.split()[1].lower().replace("operator", "operator family")
    name = "t.quiet()" if kind == "function" else "t.family USING btree"
    owner = shop.environment.owner.name
    make(shop, privileged, f"ALTER {kind} {name} OWNER TO {owner}", role="superuser")
    made = shop.json("backup")
    assert made["proven"]
    shop.run("restore", made["name"], "--yes")
    assert shop.query("SELECT i FROM t.seen") == [(1,)]
    assert shop.query("SELECT relforcerowsecurity FROM pg_class WHERE relname = 'rows'") == [(True,)]


@pytest.mark.parametrize(
    "setting",
    [
        "client_encoding = 'LATIN1'",
        "quote_all_identifiers = on",
        "standard_conforming_strings = off",
        "datestyle = 'German'",
    ],
)
def test_settings_of_the_database_change_no_proof(shop: Checkout, setting: str) -> None:
    """A backup that is made with them is proven, and proven again without them."""
    make(
        shop,
        "CREATE TABLE t.words (s text, at date)",
        r"INSERT INTO t.words VALUES (E'caf\u00e9 \u201cx\u201d', now())",
    )
    make(shop, f"ALTER DATABASE app SET {setting}", role="superuser")
    name = shop.json("backup")["name"]
    make(shop, f"ALTER DATABASE app RESET {setting.partition(' ')[0]}", role="superuser")
    shop.run("backup.verify", name)
    shop.run("backup.verify", name, PGCLIENTENCODING="LATIN1", PGDATESTYLE="german")
    shop.run("restore", name, "--yes", PGCLIENTENCODING="LATIN1", PGDATESTYLE="german")


def test_a_locked_table_is_named(shop: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    """A backup does not wait for ever for who holds a lock: it says which table, and by whom; nothing is left of it."""
    make(shop, "CREATE TABLE t.held (i int)")
    monkeypatch.setattr(dump, "LOCK_WAIT", "100ms")
    before = shop.json("backup.list")["backups"]
    with (
        holding(shop, "t.held"),
        pytest.raises(DrydockError, match=r"t\.held is locked for more than 100ms by the holder"),
    ):
        backed_up(shop)
    assert shop.json("backup.list")["backups"] == before
    assert backed_up(shop).manifest
