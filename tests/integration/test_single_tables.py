"""Single tables out of a backup, where the live schema or its rows are not plain: foreign keys, triggers, changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.checkout import Checkout


@pytest.fixture(scope="module")
def shop(scratch: Checkout) -> Iterator[Checkout]:
    """A shared checkout, put back at the end."""
    scratch.run("up")
    yield scratch
    scratch.run("reset")


def backup(shop: Checkout, statements: str) -> str:
    """Execute these as the owner; returns the name of a backup from after them."""
    shop.query(statements, role="owner")
    name: str = shop.json("backup", "--no-verify")["name"]
    return name


def test_rows_that_broke_a_key_which_was_never_checked_are_no_obstacle(shop: Checkout) -> None:
    """A NOT VALID key is held against how many rows break it now: only more of them are refused."""
    name = backup(
        shop,
        "CREATE TABLE parents (id int PRIMARY KEY); CREATE TABLE children (parent int);"
        "INSERT INTO parents VALUES (1); INSERT INTO children VALUES (1), (99);"
        "ALTER TABLE children ADD CONSTRAINT loose FOREIGN KEY (parent) REFERENCES parents NOT VALID",
    )
    shop.run("restore", name, "--table", "children")
    shop.run("restore", name, "--table", "parents", "--table", "children")
    shop.query("INSERT INTO parents VALUES (2); INSERT INTO children VALUES (2)")
    told = shop.run("restore", name, "--table", "parents", code=1).stderr
    assert "2 rows of children would refer to no row of parents (loose), 1 does now" in told
    assert shop.query("SELECT id FROM parents ORDER BY 1") == [(1,), (2,)]


def test_a_foreign_key_is_about_the_rows_of_its_two_tables_alone(shop: Checkout) -> None:
    """What inherits from the one may refer to nothing, and what inherits from the other is nothing to refer to."""
    tables = (
        "CREATE TABLE bases (id int PRIMARY KEY); CREATE TABLE heirs (PRIMARY KEY (id)) INHERITS (bases);"
        "CREATE TABLE users_of (base int REFERENCES bases); CREATE TABLE heirs_of () INHERITS (users_of);"
    )
    name = backup(shop, f"{tables} INSERT INTO heirs VALUES (1); INSERT INTO heirs_of VALUES (99)")
    shop.run("restore", name, "--table", "users_of")
    shop.query("INSERT INTO bases VALUES (1); INSERT INTO users_of VALUES (1)")
    told = shop.run("restore", name, "--table", "bases", code=1).stderr
    assert "1 row of users_of would refer to no row of bases (users_of_base_fkey)." in told


def test_a_table_that_others_inherit_from_comes_with_them(shop: Checkout) -> None:
    """Through all levels, in a backup of single tables and out of any; child tables that came since are named."""
    whole = backup(
        shop,
        "CREATE TABLE trees (id int); CREATE TABLE oaks () INHERITS (trees); CREATE TABLE cork_oaks () INHERITS (oaks);"
        "INSERT INTO trees VALUES (1); INSERT INTO oaks VALUES (2); INSERT INTO cork_oaks VALUES (3)",
    )
    every = ["public.cork_oaks", "public.oaks", "public.trees"]
    part = shop.json("backup", "--table", "trees")
    assert part["tables_only"] == every
    for name in (whole, part["name"]):
        shop.query("DELETE FROM trees")
        assert sorted(shop.json("restore", name, "--table", "trees")["tables"]) == every
        assert shop.query("SELECT id FROM trees ORDER BY 1") == [(1,), (2,), (3,)]
    shop.query("CREATE TABLE elms () INHERITS (trees); CREATE TABLE bonsais () INHERITS (cork_oaks)", role="owner")
    told = shop.run("restore", whole, "--table", "trees", code=1).stderr
    assert "public.trees has got child tables since (public.bonsais, public.elms), whose rows would stay" in told
    assert "has got child tables since" in shop.run("restore", whole, "--table", "cork_oaks", code=1).stderr


def test_no_trigger_fires_and_each_is_what_it_was(shop: Checkout) -> None:
    """Neither one that always fires nor one for replicas: both would fire where triggers are said to be at rest."""
    name = backup(
        shop,
        "CREATE TABLE watched (id int); CREATE TABLE noticed (id int); INSERT INTO watched VALUES (1);"
        "CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN INSERT INTO noticed VALUES (1); RETURN new; END';"
        + "".join(
            f'CREATE TRIGGER "{kind}!" BEFORE INSERT ON watched FOR EACH ROW EXECUTE FUNCTION see();'
            f'ALTER TABLE watched {state} TRIGGER "{kind}!";'
            for kind, state in {"a": "ENABLE ALWAYS", "d": "DISABLE", "o": "ENABLE", "r": "ENABLE REPLICA"}.items()
        ),
    )
    shop.run("restore", name, "--table", "watched")
    assert shop.query("SELECT (SELECT count(*) FROM noticed), (SELECT count(*) FROM watched)") == [(0, 1)]
    states = "SELECT tgname, tgenabled::text FROM pg_trigger WHERE tgrelid = 'watched'::regclass ORDER BY 1"
    assert shop.query(states) == [("a!", "A"), ("d!", "D"), ("o!", "O"), ("r!", "R")]


def test_rows_that_do_not_fit_any_more_are_refused(shop: Checkout) -> None:
    """With what the server says, and with the command that restores beside."""
    name = backup(
        shop, "CREATE TYPE mood AS ENUM ('sad', 'glad'); CREATE TABLE label AS SELECT 'sad'::mood AS mood, 1 AS one"
    )
    shop.query("ALTER TYPE mood RENAME VALUE 'sad' TO 'blue'")
    told = shop.run("restore", name, "--table", "label", code=1).stderr
    assert 'label does not fit the schema as it is now: invalid input value for enum public.mood: "sad".' in told
    assert f"Keep all of it beside: invoke restore {name} --into NAME." in told
