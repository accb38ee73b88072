"""Backups of what a schema may have and most have not: materialized views, partitions, types of one's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.checkout import Checkout


@pytest.fixture
def shop(scratch: Checkout) -> Iterator[Checkout]:
    """A shared checkout, put back at the end."""
    scratch.run("up")
    yield scratch
    scratch.run("up")
    scratch.run("reset")


def make(shop: Checkout, *statements: str) -> None:
    for statement in statements:
        shop.query(statement, role="owner")


def test_a_view_that_nobody_refreshed_is_proven_and_restored(shop: Checkout) -> None:
    """A restore refreshes materialized views: what they held is not compared, and one without data is no obstacle."""
    make(
        shop,
        "CREATE TABLE parcels (id int)",
        "CREATE MATERIALIZED VIEW stale AS SELECT count(*) FROM parcels",
        "CREATE MATERIALIZED VIEW empty AS SELECT count(*) FROM parcels WITH NO DATA",
        "INSERT INTO parcels VALUES (1), (2)",
    )
    made = shop.json("backup", "--label", "views")
    assert made["proven"]
    shop.run("restore", made["name"], "--yes")
    assert shop.query("SELECT * FROM stale") == [(2,)]


def test_a_column_of_another_type_is_not_filled(shop: Checkout) -> None:
    """Rows do not come back into a column whose type changed: eight bytes of a number would pass for a time."""
    make(shop, "CREATE TABLE visits (expires bigint)", "INSERT INTO visits VALUES (1700000000)")
    name = shop.json("backup", "--label", "epoch")["name"]
    make(shop, "ALTER TABLE visits ALTER expires TYPE timestamptz USING to_timestamp(expires)")
    told = shop.run("restore", name, "--table", "visits", code=1).stderr
    assert "other columns now than in the backup (expires bigint, expires timestamp with time zone)" in told
    assert shop.query("SELECT extract(epoch FROM expires)::int FROM visits") == [(1700000000,)]


def test_rows_with_types_of_ones_own_come_back(shop: Checkout) -> None:
    """Arrays, composites and names of relations, whose binary form has numbers of the database they are from."""
    make(
        shop,
        "CREATE TYPE mood AS ENUM ('sad', 'glad')",
        "CREATE TYPE pair AS (one int, other text)",
        "CREATE TABLE own (moods mood[], pairs pair[], one pair, relation regclass, at timestamptz)",
        "INSERT INTO own VALUES ('{sad,glad}', ARRAY[(1, 'a,\"b')::pair], (NULL, NULL), 'own', '2026-11-22 +0545')",
    )
    before = shop.query("SELECT own::text FROM own")
    name = shop.json("backup", "--label", "own")["name"]
    make(shop, "DELETE FROM own")
    shop.run("restore", name, "--table", "own")
    assert shop.query("SELECT own::text FROM own") == before


def test_a_dot_may_be_part_of_a_name(shop: Checkout) -> None:
    """Its rows are in no backup without them, are proven where they are in one, and come back by the name of SQL."""
    make(
        shop,
        'CREATE SCHEMA "my.schema"',
        'CREATE TABLE "my.schema".secret (id int PRIMARY KEY, s text)',
        'CREATE TABLE "dot.ted" (id serial PRIMARY KEY, secret int REFERENCES "my.schema".secret)',
        "INSERT INTO \"my.schema\".secret VALUES (1, 'hidden')",
        'INSERT INTO "dot.ted" VALUES (1, 1)',
    )
    count = 'SELECT count(*) FROM "my.schema".secret'
    for words in (["--schema-only"], ["--table", "users"]):
        name = shop.json("backup", *words)["name"]
        shop.run("restore", name, "--into", "without")
        assert shop.query(count, database="without") == [(0,)]
        shop.query("DROP DATABASE without")
    made = shop.json("backup", "--table", '"dot.ted"')
    assert made["tables_only"] == ['"my.schema".secret', "public.dot.ted"]
    make(shop, 'DELETE FROM "dot.ted"', 'DELETE FROM "my.schema".secret')
    shop.run("restore", made["name"], "--table", '"my.schema"."secret"', "--table", "dot.ted")
    assert shop.query('SELECT s FROM "my.schema".secret JOIN "dot.ted" d ON secret.id = d.secret') == [("hidden",)]


def test_partitions_come_with_what_refers_to_them(shop: Checkout) -> None:
    """A table that refers to a partitioned one brings the partitions; one partition comes back by itself as well."""
    make(
        shop,
        "CREATE TABLE yards (id int PRIMARY KEY) PARTITION BY RANGE (id)",
        "CREATE TABLE yards_1 PARTITION OF yards FOR VALUES FROM (0) TO (10)",
        "CREATE TABLE yards_2 PARTITION OF yards DEFAULT",
        "CREATE TABLE ships (id int, yard int REFERENCES yards)",
        "INSERT INTO yards VALUES (1), (20)",
        "INSERT INTO ships VALUES (1, 1), (2, 20)",
    )
    made = shop.json("backup", "--label", "ships", "--table", "ships")
    whole = shop.json("backup", "--label", "whole")["name"]
    make(shop, "DELETE FROM ships", "DELETE FROM yards")
    shop.run("restore", made["name"])
    assert shop.query("SELECT id, yard FROM ships ORDER BY 1") == [(1, 1), (2, 20)]
    make(shop, "DELETE FROM ships WHERE id = 1", "DELETE FROM yards_1")
    shop.run("restore", whole, "--table", "yards_1")
    assert shop.query("SELECT id FROM yards ORDER BY 1") == [(1,), (20,)]
    make(shop, "DELETE FROM ships", "DELETE FROM yards_1")
    told = shop.run("restore", whole, "--table", "ships", code=1).stderr
    assert "1 rows of ships would refer to no row of yards" in told


def test_a_redis_that_does_not_answer_is_known_before_the_swap(
    embedded_engine: str, make_checkout: Callable[..., Checkout]
) -> None:
    """The database stays as it is, and a backup of Redis leaves nothing of it out."""
    shop = make_checkout(ENGINE=embedded_engine)  # Docker would start it again
    shop.run("up")
    make(shop, "CREATE TABLE before (id int)")
    name = shop.json("backup", "--label", "dry")["name"]
    make(shop, "CREATE TABLE later (id int)")
    shop.run("redis-cli", "--", "-n", "1", "SET", "elsewhere", "yes")
    assert "Redis has keys in db1 as well" in shop.run("backup", "--redis", code=1).stderr
    shop.run("redis-cli", "-c", "SHUTDOWN NOSAVE")
    assert "Redis does not answer" in shop.run("restore", name, "--yes", code=5).stderr
    assert shop.query("SELECT count(*) FROM later") == [(0,)]
