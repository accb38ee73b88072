"""Which statements of a migration would lose data, asked of a real server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import Connection, create_engine, text

from drydock import losses

if TYPE_CHECKING:
    from collections.abc import Iterator

TABLES = """
    CREATE TABLE full_one (id int, name varchar(20), price numeric(8, 2), note text, "Odd name" text, at date);
    INSERT INTO full_one VALUES (1, 'a', 1, 'b', 'c', now());
    CREATE TABLE empty_one (id int, name text);
    CREATE TABLE parts (id int) PARTITION BY RANGE (id);
    CREATE TABLE part PARTITION OF parts DEFAULT;
    INSERT INTO parts VALUES (1);
    CREATE SCHEMA other;
    CREATE TABLE other.full_one AS TABLE full_one;
"""


@pytest.fixture(scope="module")
def connection(postgres_superuser_url: str) -> Iterator[Connection]:
    """A transaction with two tables that hold rows and one that never did, rolled back afterwards."""
    engine = create_engine(postgres_superuser_url)
    with engine.connect() as connection:
        connection.execute(text(TABLES))
        yield connection
        connection.rollback()
    engine.dispose()


def told(connection: Connection, statement: str) -> list[str]:
    """The clauses about a statement."""
    return [loss for _, loss in losses.losses(connection, statement)]


@pytest.mark.parametrize(
    ("statement", "loss"),
    [
        ("DROP TABLE full_one", "drops the table full_one"),
        ("drop table if exists full_one cascade", "drops the table full_one"),
        ('DROP TABLE empty_one, "full_one"', 'drops the table "full_one"'),
        ("DROP TABLE other.full_one", "drops the table other.full_one"),
        ("DROP TABLE parts", "drops the table parts"),
        ("TRUNCATE full_one", "deletes rows of full_one"),
        ("TRUNCATE TABLE ONLY full_one", "deletes rows of full_one"),
        ("DELETE FROM full_one WHERE id = 1", "deletes rows of full_one"),
        ("WITH x AS (DELETE FROM full_one RETURNING 1) SELECT 1", "deletes rows of full_one"),
        ("SELECT 1; -- first\nDELETE FROM full_one", "deletes rows of full_one"),
        ("ALTER TABLE full_one DROP COLUMN name", "drops the column full_one.name"),
        ("ALTER TABLE full_one DROP note", "drops the column full_one.note"),
        ('ALTER TABLE ONLY full_one ADD x int, DROP COLUMN IF EXISTS "Odd name"', 'the column full_one."Odd name"'),
        ("ALTER TABLE full_one ALTER COLUMN name TYPE varchar(10)", "name from character varying(20) to varchar(10)"),
        ("ALTER TABLE full_one ALTER note TYPE varchar(20)", "note from text to varchar(20)"),
        ("ALTER TABLE full_one ALTER id SET DATA TYPE smallint USING id::smallint", "id from integer to smallint"),
        ("ALTER TABLE full_one ALTER COLUMN price TYPE integer", "price from numeric(8,2) to integer"),
        ("ALTER TABLE full_one ALTER COLUMN price TYPE numeric(8, 4)", "price from numeric(8,2) to numeric(8, 4)"),
        (
            "ALTER TABLE full_one ALTER note TYPE jsonb USING note::jsonb, ALTER id TYPE bigint",
            "note from text to jsonb",
        ),
    ],
)
def test_what_loses_data_is_told(connection: Connection, statement: str, loss: str) -> None:
    """The clause says what would go, once."""
    (clause,) = told(connection, statement)
    assert loss in clause


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE empty_one",
        "DROP TABLE IF EXISTS nowhere",
        "TRUNCATE empty_one",
        "ALTER TABLE empty_one DROP COLUMN name",
        "ALTER TABLE full_one ADD COLUMN more text",
        "ALTER TABLE full_one DROP CONSTRAINT some_check",
        "ALTER TABLE full_one ALTER COLUMN name DROP NOT NULL, ALTER name DROP DEFAULT",
        "ALTER TABLE full_one ALTER COLUMN name TYPE varchar(40)",
        "ALTER TABLE full_one ALTER COLUMN name TYPE text",
        'ALTER TABLE full_one ALTER COLUMN name TYPE text COLLATE "C"',
        "ALTER TABLE full_one ALTER COLUMN id TYPE bigint",
        "ALTER TABLE full_one ALTER COLUMN id TYPE numeric",
        "ALTER TABLE full_one RENAME COLUMN name TO title",
        "DROP INDEX some_index",
        "DROP VIEW some_view",
        "CREATE TABLE drop_table (id int)",
        "UPDATE full_one SET name = 'b'",
        "-- DROP TABLE full_one\nSELECT 1 /* DELETE FROM full_one */",
    ],
)
def test_what_keeps_data_is_passed_over(connection: Connection, statement: str) -> None:
    """Neither changes that keep every value nor those of tables that never held a row are told."""
    assert told(connection, statement) == []


def test_the_owner_need_not_see_the_rows(connection: Connection) -> None:
    """Row-level security hides rows from who migrates; they would be lost all the same."""
    statements: tuple[Any, ...] = (
        "CREATE TABLE hidden AS SELECT 1 AS id",
        "ALTER TABLE hidden ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
    )
    for statement in statements:
        connection.execute(text(statement))
    assert told(connection, "DROP TABLE hidden") == ["drops the table hidden"]
