"""What restore makes of its words: names that are empty, taken, too long or a file's as well."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import psycopg
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.checkout import Checkout

COUNT = "SELECT count(*) FROM messages"


@pytest.fixture(scope="module")
def shop(scratch: Checkout) -> Iterator[Checkout]:
    """A checkout with one proven backup of the seeded state, called `docs`, and no rows since."""
    scratch.run("reset")
    scratch.run("backup", "--label", "docs")
    scratch.query("DELETE FROM messages")
    yield scratch
    scratch.run("reset")


@pytest.mark.parametrize(
    "flag", ["into", "table", "at", "before-xid", "lsn", "mark", "timeline", "branch", "cluster", "source"]
)
def test_an_empty_value_is_not_taken_for_none(shop: Checkout, flag: str) -> None:
    """A shell's variable that is not set neither replaces the live database nor stands for the latest backup."""
    words = ["docs", f"--{flag}", ""] if flag != "source" else [""]
    told = shop.run("restore", *words, "--yes", code=2).stderr
    assert f"--{flag} is empty" in told if flag != "source" else "The name of the backup is empty" in told
    assert shop.query(COUNT) == [(0,)]


@pytest.mark.parametrize("words", [["docs", "--into", " "], ["docs", "--table", "\t"], [" "]])
def test_white_space_alone_is_no_name(shop: Checkout, words: list[str]) -> None:
    """Neither of a database to be made nor of anything that is looked for."""
    assert "is empty" in shop.run("restore", *words, "--yes", code=2).stderr
    assert shop.query(COUNT) == [(0,)]


def test_a_name_and_a_moment_exclude_each_other(shop: Checkout) -> None:
    """The word that is the default, too, where it was typed."""
    for name in ("latest", "docs"):
        told = shop.run("restore", name, "--latest", "--yes", code=2).stderr
        assert f"The backup {name!r} and a moment to go back to cannot be had together" in told


@pytest.mark.parametrize("name", ["app__coming", "app__try_x", "app__previous", "app__mine"])
def test_drydocks_own_names_are_not_given_away(shop: Checkout, name: str) -> None:
    """A database of such a name would be dropped by the next task, or taken for another."""
    before = shop.query("SELECT datname FROM pg_database ORDER BY 1")
    told = shop.run("restore", "docs", "--into", name, code=3).stderr
    assert f"Cannot restore into {name}: drydock's own databases have the names that begin with app__" in told
    assert shop.query("SELECT datname FROM pg_database ORDER BY 1") == before


def test_a_name_that_postgres_would_cut_is_refused(shop: Checkout) -> None:
    """63 bytes are the longest, not characters."""
    assert "has 64 bytes" in shop.run("restore", "docs", "--into", "ä" * 32, code=3).stderr
    longest = "ä" * 31 + "b"
    assert shop.json("restore", "docs", "--into", longest)["database"] == longest
    shop.query(f'DROP DATABASE "{longest}"')


@pytest.mark.parametrize("name", ["o'brien x", r"back\slash", "a=b", "100%/?#"])
def test_any_other_name_is_a_database(shop: Checkout, name: str) -> None:
    """Whatever characters it has, the backup is loaded into it, and the URL that is told leads there."""
    told = shop.run("restore", "docs", "--into", name).stdout
    assert shop.query(COUNT, database=name) == [(1194,)]
    url = told.split()[-1]
    environment = shop.environment
    with psycopg.connect(url, password=environment.app.password) as connection:
        assert connection.info.dbname == name
    shop.query(f'DROP DATABASE "{name}"')


def test_a_label_goes_before_a_file_of_that_name(shop: Checkout) -> None:
    """A backup's label, its name and `latest` mean the backup; the folder beside needs a slash."""
    for name in ("docs", "latest"):
        (shop.root / name).mkdir()
        shop.run("restore", name, "--into", "labelled")
        assert shop.query(COUNT, database="labelled") == [(1194,)]
        shop.query("DROP DATABASE labelled")
        assert "a folder without toc.dat" in shop.run("restore", f"./{name}", code=1).stderr
        (shop.root / name).rmdir()
    (shop.root / "2").write_text("CREATE TABLE by_its_file ();")  # as every backup's name begins, too
    shop.run("restore", "2", "--into", "labelled", "--yes")
    assert shop.query("SELECT to_regclass('by_its_file') IS NOT NULL", database="labelled") == [(True,)]
    shop.query("DROP DATABASE labelled")
    (shop.root / "2").unlink()


def test_what_cannot_be_migrated_replaces_nothing_and_can_be_had_beside(shop: Checkout, tmp_path: Path) -> None:
    """A dump of the schema alone has no revision: that is told of the dump, not of the live database."""
    path = tmp_path / "schema.sql"
    process = shop.environment.engine.run("pg_dump", ["--schema-only"], stdout=subprocess.PIPE)
    path.write_bytes(process.communicate()[0])
    told = shop.run("restore", str(path), "--yes", code=6).stderr
    assert f"{path} could not be migrated, and nothing was replaced: Migration " in told
    assert "already exists" in told
    assert "the database is at" not in told
    assert "--into NAME" in told
    beside = shop.json("restore", str(path), "--into", "o'brien 100%", "--yes")
    assert "already exists" in beside["unmigrated"]
    assert shop.query(COUNT, database="o'brien 100%") == [(0,)]
    shop.query('DROP DATABASE "o\'brien 100%"')
