"""Single tables of an earlier moment: keys, schemas, inheritance, triggers and what does not fit any more."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests import timeline
from tests.checkout import Checkout

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.timeline import Numbers


@pytest.fixture(scope="module")
def numbers(any_engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Numbers]:
    """A checkout of this module's own, archived: what is under test is the same on either engine."""
    checkout = Checkout(tmp_path_factory.mktemp("tables") / "shop", ENGINE=any_engine, WAL_ARCHIVE="on")
    yield timeline.archived(checkout)
    checkout.remove()


def moved_on(numbers: Numbers, before: str, after: str, *, role: str = "owner") -> tuple[str, ...]:
    """Execute the first statements, then the others; returns the words that go back to between them."""
    numbers.checkout.query(before, role=role)
    numbers.checkout.query("DELETE FROM numbers")
    xid = numbers.add(1)
    numbers.checkout.query(after)
    numbers.archived()
    return ("restore", "--before-xid", xid)


def test_a_primary_key_comes_back_as_it_was(numbers: Numbers) -> None:
    """Columns that it only includes, and that it may be deferred, are not lost."""
    words = moved_on(
        numbers, "CREATE TABLE inc (id int, v text, PRIMARY KEY (id) INCLUDE (v) DEFERRABLE)", "DROP TABLE inc"
    )
    numbers.checkout.run(*words, "--table", "inc")
    query = "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'inc_restored'::regclass"
    assert numbers.checkout.query(query) == [("PRIMARY KEY (id) INCLUDE (v) DEFERRABLE",)]


def test_a_dropped_schema_comes_back_as_its_owners(numbers: Numbers) -> None:
    """Where that role is gone, or never was the owner's, the owner can read the tables all the same."""
    checkout = numbers.checkout
    schemas = ("own", "other", "orphan")
    checkout.query("CREATE ROLE somebody; CREATE ROLE gone")
    words = moved_on(
        numbers,
        "CREATE SCHEMA own AUTHORIZATION app_owner; CREATE SCHEMA other AUTHORIZATION somebody;"
        "CREATE SCHEMA orphan AUTHORIZATION gone;"
        + ";".join(f"CREATE TABLE {s}.t AS SELECT 1 AS one" for s in schemas),
        f"DROP SCHEMA {', '.join(schemas)} CASCADE; DROP ROLE gone",
        role="superuser",
    )
    checkout.run(*words, *(word for schema in schemas for word in ("--table", f"{schema}.t")))
    for schema in schemas:
        assert checkout.query(f"SELECT one FROM {schema}.t_restored", role="owner") == [(1,)]
    owners = "SELECT nspowner::regrole::text FROM pg_namespace WHERE nspname IN ('own', 'other', 'orphan') ORDER BY 1"
    assert checkout.query(owners) == [("app_owner",), ("app_owner",), ("somebody",)]


def test_a_table_that_others_inherit_from_comes_with_them(numbers: Numbers) -> None:
    """Beside them each, and in place."""
    checkout = numbers.checkout
    words = moved_on(
        numbers,
        "CREATE TABLE trees (id int); CREATE TABLE oaks () INHERITS (trees); INSERT INTO oaks VALUES (2)",
        "DELETE FROM trees",
    )
    assert checkout.json(*words, "--table", "trees")["tables"] == ["public.oaks_restored", "public.trees_restored"]
    checkout.run(*words, "--table", "trees", "--replace", "--yes")
    assert checkout.query("SELECT id FROM trees") == [(2,)]


CHANGED = {
    "label": (
        "CREATE TYPE mood AS ENUM ('sad', 'glad'); CREATE TABLE label AS SELECT 'sad'::mood AS mood",
        "ALTER TYPE mood RENAME VALUE 'sad' TO 'blue'",
        'label does not fit the schema as it is now: invalid input value for enum public.mood: "sad".',
    ),
    "rule": (
        "CREATE TABLE rule AS SELECT 1 AS one",
        "DELETE FROM rule; ALTER TABLE rule ADD CONSTRAINT larger CHECK (one > 1)",
        'rule does not fit the schema as it is now: new row for relation "rule" violates check constraint "larger".',
    ),
    "seen": (
        "CREATE TABLE seen_base AS SELECT 1 AS one; CREATE TABLE seen AS SELECT 1 AS one",
        "DROP TABLE seen; CREATE VIEW seen AS SELECT one FROM seen_base",
        "public.seen is a view in the live database.",
    ),
    "doubled": (
        "CREATE TABLE doubled (one int, more int GENERATED ALWAYS AS (one * 2) STORED)",
        "ALTER TABLE doubled DROP more, ADD more int GENERATED ALWAYS AS (one * 3) STORED",
        "(more integer generated as (one * 2), more integer generated as (one * 3)).",
    ),
}


@pytest.fixture(scope="module")
def changed(numbers: Numbers) -> tuple[str, ...]:
    """The words that go back to where tables were whose schema has changed since."""
    before, after, _ = zip(*CHANGED.values(), strict=True)
    return moved_on(numbers, ";".join(before), ";".join(after))


@pytest.mark.parametrize("table", CHANGED)
def test_rows_that_do_not_fit_any_more_are_refused(numbers: Numbers, changed: tuple[str, ...], table: str) -> None:
    """With what the server says, and with what to type to have them beside."""
    told = numbers.checkout.run(*changed, "--table", table, "--replace", "--yes", code=1).stderr
    assert CHANGED[table][2] in told
    assert "beside: the same with" in told


def test_what_the_hint_says_keeps_the_moment_beside(numbers: Numbers, changed: tuple[str, ...]) -> None:
    """Where a table's rows do not even fit beside their namesake."""
    told = numbers.checkout.run(*changed, "--table", "label", code=1).stderr
    assert CHANGED["label"][2] in told
    assert "Keep all of it beside: the same with --branch NAME in place of --table." in told
    numbers.checkout.run(*changed, "--branch", "past")
    numbers.checkout.run("branch.drop", "past", "--yes")


def test_names_are_those_of_that_moment(numbers: Numbers) -> None:
    """A table that is called otherwise now is not there by its new name; two long ones do not become one."""
    long = ["l" * 60 + end for end in ("one", "two")]
    words = moved_on(
        numbers,
        f"CREATE TABLE ren (id int); CREATE TABLE {long[0]} (id int); CREATE TABLE {long[1]} (id int)",
        "ALTER TABLE ren RENAME TO ren2",
    )
    told = numbers.checkout.run(*words, "--table", "ren2", code=1).stderr
    assert "There was no table ren2 at that moment. Did you mean ren?" in told
    told = numbers.checkout.run(*words, *(word for name in long for word in ("--table", name)), code=3).stderr
    assert f"public.{long[0]} and public.{long[1]} would both come back as public.{'l' * 54}_restored" in told


def test_a_table_without_columns_comes_back(numbers: Numbers) -> None:
    """Beside and in place: it has rows all the same."""
    checkout = numbers.checkout
    words = moved_on(numbers, "CREATE TABLE bare (); INSERT INTO bare DEFAULT VALUES", "DELETE FROM bare")
    checkout.run(*words, "--table", "bare")
    checkout.run(*words, "--table", "bare", "--replace", "--yes")
    assert checkout.query("SELECT (SELECT count(*) FROM bare), (SELECT count(*) FROM bare_restored)") == [(1, 1)]


def test_a_view_that_is_older_than_the_rows_is_told(numbers: Numbers) -> None:
    """One that reads a table itself, by a view, by its parent or by another such view: what refreshes it is said."""
    stale = ('"Of it"', "by_view", "by_parent", "by_other")
    words = moved_on(
        numbers,
        "CREATE TABLE whole (id int) PARTITION BY LIST (id); CREATE TABLE part PARTITION OF whole DEFAULT;"
        "CREATE VIEW between AS SELECT * FROM part;"
        'CREATE MATERIALIZED VIEW "Of it" AS SELECT * FROM part;'
        "CREATE MATERIALIZED VIEW by_view AS SELECT * FROM between;"
        "CREATE MATERIALIZED VIEW by_parent AS SELECT * FROM whole;"
        "CREATE MATERIALIZED VIEW by_other AS SELECT * FROM by_view;"
        "CREATE MATERIALIZED VIEW hollow AS SELECT * FROM part WITH NO DATA;"
        "CREATE MATERIALIZED VIEW elsewhere AS SELECT 1 AS one",
        "INSERT INTO part VALUES (1)",
    )
    told = numbers.checkout.run(*words, "--table", "part", "--replace", "--yes").stderr
    said = [line.partition(": ")[2] for line in told.splitlines() if "REFRESH" in line]
    assert said == [f"REFRESH MATERIALIZED VIEW {view};" for view in stale]
