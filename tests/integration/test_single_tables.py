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
