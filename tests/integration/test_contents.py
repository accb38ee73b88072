"""What a database holds, compared: no change goes unseen, and what differs only in order does not count."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from drydock.backup import contents

if TYPE_CHECKING:
    from collections.abc import Callable

    from drydock.backup.contents import Contents
    from drydock.testing import Database

COUNTED = """
CREATE TABLE counted (id serial PRIMARY KEY, word text NOT NULL DEFAULT '', n numeric,
    CONSTRAINT short CHECK (length(word) < 9));
CREATE INDEX by_word ON counted (word);
CREATE VIEW words AS SELECT word FROM counted;
CREATE FUNCTION one() RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE TYPE mood AS ENUM ('glad');
CREATE TRIGGER stamp BEFORE UPDATE ON counted FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger();
ALTER TABLE counted ENABLE ROW LEVEL SECURITY;
CREATE POLICY everybody ON counted USING (true);
INSERT INTO counted (word, n) VALUES ('one', 1.0), ('two', 2), ('two', 2);
"""


@pytest.fixture
def holding(postgres: Database) -> Callable[..., Contents]:
    """What the test's database holds after some statements."""

    def hold(*statements: str) -> Contents:
        with postgres.connect("superuser") as connection:
            for statement in statements:
                connection.execute(statement.encode())
            connection.commit()
            contents.prepare(connection)
            return contents.take(connection)

    return hold


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        ("UPDATE counted SET word = 'ome' WHERE id = 1", "other content"),
        ("UPDATE counted SET word = 'two' WHERE id = 1; UPDATE counted SET word = 'one' WHERE id = 2", "other content"),
        ("UPDATE counted SET n = 1.00 WHERE id = 1", "other content"),
        ("UPDATE counted SET n = NULL WHERE id = 1", "other content"),
        ("DELETE FROM counted WHERE id = 3", "2 rows instead of 3"),
        ("INSERT INTO counted (id) VALUES (9)", "4 rows instead of 3"),
        ("DELETE FROM counted WHERE id = 3; INSERT INTO counted (id) VALUES (9)", "other content"),
        ("SELECT setval('counted_id_seq', 7)", "sequence public.counted_id_seq stands at 7"),
        ("SELECT setval('counted_id_seq', 3, false)", "sequence public.counted_id_seq"),
        ("DROP VIEW words", "view public.words is missing"),
        ("CREATE OR REPLACE VIEW words AS SELECT word || '' AS word FROM counted", "view public.words differs"),
        ("DROP INDEX by_word", "index public.by_word is missing"),
        ("DROP INDEX by_word; CREATE INDEX by_word ON counted (word DESC)", "index public.by_word differs"),
        ("ALTER TABLE counted DROP CONSTRAINT short", "constraint public.counted.short is missing"),
        ("ALTER TABLE counted ALTER word DROP NOT NULL", "column public.counted.word differs"),
        ("ALTER TABLE counted ALTER word SET DEFAULT 'x'", "column public.counted.word differs"),
        ("ALTER TABLE counted ALTER n TYPE numeric(9, 2)", "column public.counted.n differs"),
        ("ALTER TABLE counted DISABLE ROW LEVEL SECURITY", "relation public.counted differs"),
        ("ALTER TABLE counted FORCE ROW LEVEL SECURITY", "relation public.counted differs"),
        ("GRANT SELECT ON counted TO PUBLIC", "relation public.counted differs"),
        ("ALTER TABLE counted OWNER TO app", "relation public.counted differs"),
        ("ALTER POLICY everybody ON counted USING (false)", "policy public.counted.everybody differs"),
        ("DROP TRIGGER stamp ON counted", "trigger public.counted.stamp is missing"),
        ("ALTER TABLE counted DISABLE TRIGGER stamp", "trigger public.counted.stamp differs"),
        ("CREATE OR REPLACE FUNCTION one() RETURNS int LANGUAGE sql AS 'SELECT 2'", "function public.one() differs"),
        ("ALTER TYPE mood ADD VALUE 'sad'", "type public.mood differs"),
        ("CREATE TABLE more ()", "relation public.more is new"),
        ("DROP EXTENSION vector CASCADE", "extension vector is missing"),
        ("SELECT lo_from_bytea(4711, 'x')", "large object 4711 is new"),
        ("CREATE SCHEMA another", "schema another is new"),
    ],
)
def test_no_change_goes_unseen(holding: Callable[..., Contents], change: str, seen: str) -> None:
    """Every kind of change to rows, sequences and schema is named."""
    before = holding(COUNTED)
    found = contents.differences(before, holding(change))
    assert any(seen in line for line in found), found


def test_the_order_of_rows_does_not_count(holding: Callable[..., Contents]) -> None:
    """The same rows written again in another order are the same content; so is the same database asked twice."""
    before = holding(COUNTED)
    after = holding(
        "CREATE TEMP TABLE kept AS SELECT * FROM counted",
        "DELETE FROM counted",
        "INSERT INTO counted SELECT * FROM kept ORDER BY id DESC",
        "DROP TABLE kept",
    )
    assert contents.differences(before, after) == []


def test_backups_know_a_schema_with_a_dot_by_its_former_name(postgres: Database) -> None:
    """An earlier drydock put no schema in quotes; what it backed up is compared all the same."""
    with postgres.connect("superuser") as connection:
        connection.execute('CREATE SCHEMA "my.schema" CREATE TABLE kept (id serial)')
        contents.prepare(connection)
        now = contents.take(connection)
        found = contents.take(connection, only=["my.schema.kept"])
    table = now.tables['"my.schema".kept']
    earlier = replace(now, tables={"my.schema.kept": table}, sequences={"my.schema.kept_id_seq": (1, False)})
    assert found.tables == {'"my.schema".kept': table}
    assert contents.differences(earlier, found) == []


def test_a_sequence_may_stand_anywhere_between_the_two_looks_at_it() -> None:
    """Nobody who draws from a sequence waits for a dump: what counts is that it stands between before and after."""
    low, high = {"s": (5, True)}, contents.Contents(sequences={"s": (9, True)})
    for position, right in (
        ((5, True), True),
        ((7, True), True),
        ((9, True), True),
        ((4, True), False),
        ((10, True), False),
    ):
        found = contents.differences(high, contents.Contents(sequences={"s": position}), low=low)
        assert (found == []) is right, position
