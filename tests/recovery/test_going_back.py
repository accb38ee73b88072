"""Restores to a moment, as people type them: in place, beside as a branch, and single tables."""

from __future__ import annotations

import re
import shutil
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import psycopg
import pytest

from drydock.recovery.bases import base
from tests import timeline
from tests.checkout import Checkout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.timeline import Numbers


@pytest.fixture(scope="module")
def numbers(engine_name: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Numbers]:
    """A checkout of this module's own on each engine, archived."""
    checkout = Checkout(tmp_path_factory.mktemp("back") / "shop", ENGINE=engine_name, WAL_ARCHIVE="on")
    yield timeline.archived(checkout)
    checkout.remove()


def fresh(numbers: Numbers, count: int) -> list[str]:
    """The transactions that add 1 to `count` to the emptied table."""
    numbers.checkout.query("DELETE FROM numbers")
    xids = [numbers.add(number) for number in range(1, count + 1)]
    numbers.archived()
    return xids


def test_a_plan_starts_nothing(numbers: Numbers) -> None:
    """--plan says what would be undone, and everything stays as it is."""
    xids = fresh(numbers, 3)
    before = numbers.checkout.environment.state
    plan = numbers.checkout.json("restore", "--before-xid", xids[1], "--plan")["plan"]
    assert plan["undone"]["transactions"] >= 2
    assert numbers.checkout.environment.state == before
    assert numbers.all() == [1, 2, 3]


def test_a_plan_names_tables_that_are_as_young_as_the_mistake(numbers: Numbers) -> None:
    """What is undone has the names that the running server knows, though nobody wrote them down since."""
    xids = fresh(numbers, 1)
    numbers.checkout.query("CREATE TABLE young AS SELECT 1 AS one", role="owner")
    numbers.checkout.query("UPDATE drydock.facts SET value = value", role="owner")
    plan = numbers.checkout.json("restore", "--before-xid", xids[0], "--plan")["plan"]
    assert plan["undone"]["tables"]["young"] == {"inserted": 1, "updated": 0, "deleted": 0}
    # What only drydock writes for itself is in no history.
    assert plan["undone"]["tables"].keys() == {"young", "numbers"}
    numbers.checkout.query("DROP TABLE young", role="owner")


def test_a_plan_keeps_the_tables_of_different_databases_apart(numbers: Numbers) -> None:
    """A namesake in another database is named with it, as the history names both; drydock's own tables are not."""
    checkout, xids = numbers.checkout, fresh(numbers, 2)
    checkout.query("CREATE DATABASE second OWNER app_owner")
    checkout.query("CREATE TABLE numbers AS SELECT generate_series(1, 100)", database="second")
    checkout.query("WITH mine AS (INSERT INTO numbers VALUES (3)) UPDATE drydock.facts SET value = value")
    tables = checkout.json("restore", "--before-xid", xids[1], "--plan")["plan"]["undone"]["tables"]
    assert {name: counts["inserted"] for name, counts in tables.items()} == {"numbers": 2, "second:numbers": 100}
    checkout.query("DROP DATABASE second")


def test_without_a_yes_nothing_changes(numbers: Numbers) -> None:
    """The question comes after the moment was looked at; no answer leaves the data and nothing beside it."""
    xids = fresh(numbers, 2)
    beside = numbers.checkout.environment.engine.beside
    before = beside.volumes()
    refused = numbers.checkout.run("restore", "--before-xid", xids[0], code=3)
    assert re.search(r"rows of +now +then\n +numbers ", refused.stderr)
    assert "Nothing was changed: it was not confirmed." in refused.stderr
    assert numbers.all() == [1, 2]
    assert (beside.volumes(), beside.servers()) == (before, [])


def test_restores_across_restores_follow_the_right_timeline(numbers: Numbers) -> None:
    """Three incarnations deep, each with commits of its own; then to a moment of the first, and all are there."""
    checkout = numbers.checkout
    first = fresh(numbers, 3)
    checkout.redis("SET", "stale", "yes")
    checkout.run("restore", "--before-xid", first[2], "--yes")
    assert (numbers.all(), checkout.redis("DBSIZE")) == ([1, 2], "0")
    # What the server beside wrote when its timeline began says what it is.
    (newest,) = checkout.json("history", "--limit", "1")["transactions"]
    assert (newest["timeline"], newest["who"]) == (2, {"task": "invoke restore"})
    assert "--before-xid" not in checkout.run("history", "--limit", "1").stdout  # undo is what takes a restore back
    second = [numbers.add(number) for number in (20, 21)]
    numbers.archived()
    line, xid = second[1].split(":")
    checkout.run("restore", "--before-xid", xid, "--timeline", line, "--yes")
    assert numbers.all() == [1, 2, 20]
    numbers.add(30)
    numbers.archived()
    # The numbers of the lives before come again: what the history advises says which is meant, with one line as well.
    *_, advice = checkout.run("history", "--limit", "1").stdout.splitlines()
    plan = checkout.json(*advice.partition("invoke ")[2].split(), "--plan")["plan"]
    assert (f":{plan['timeline']}:" in f":{advice.split()[-1]}", plan["undone"]["transactions"]) == (True, 1)
    checkout.run("restore", "--before-xid", first[1], "--yes")
    assert numbers.all() == [1]
    assert timeline.complaints(checkout) == []
    checkout.run("restore", "--before-xid", second[1], "--yes")
    assert numbers.all() == [1, 2, 20]


def test_a_later_moment_of_an_earlier_life_leaves_no_loss_behind(numbers: Numbers) -> None:
    """Gone back to behind where the life before was left: nothing is missing between what follows what."""
    checkout = numbers.checkout
    first = fresh(numbers, 1)
    for _ in range(9):  # more than the life that comes next will fill
        checkout.query("SELECT pg_switch_wal()")
        checkout.query("SELECT pg_current_xact_id()")
    later = numbers.add(2)
    numbers.archived()
    checkout.run("restore", "--before-xid", first[0], "--yes")
    numbers.add(10)
    line, xid = later.split(":")
    checkout.run("restore", "--before-xid", xid, "--timeline", line, "--yes")
    assert numbers.all() == [1]
    assert "is what was written" in checkout.run("archive.verify").stdout


def test_a_table_that_somebody_locks_keeps_nobody_from_going_back(numbers: Numbers) -> None:
    """Its rows are not counted now; the swap ends that session in any case."""
    checkout = numbers.checkout
    xids = fresh(numbers, 2)
    environment = checkout.environment
    with psycopg.connect(environment.database_url(environment.superuser)) as connection:
        connection.execute("LOCK TABLE numbers")
        checkout.run("restore", "--before-xid", xids[1], "--timeline", xids[1].split(":")[0], "--yes")
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    assert numbers.all() == [1]


def test_the_archive_of_another_cluster_does_not_replace_this_one(numbers: Numbers) -> None:
    """Undo could not lead back: it is refused, and what to do is said."""
    other = numbers.checkout.root / "backups" / "wal" / "7000000000000000001"
    other.mkdir()
    try:
        told = numbers.checkout.run("restore", "--latest", "--cluster", other.name, "--yes", code=3).stderr
    finally:
        other.rmdir()
    assert "would leave no way back to it" in told


def test_a_damaged_base_backup_gives_way_to_an_earlier_one(
    engine_name: str, make_checkout: Callable[..., Checkout]
) -> None:
    """One flipped bit: the restore says so and begins with the one before; with none before, nothing is changed.

    The next restore begins with a sound one at once, until the damaged one is proven again.
    """
    checkout = make_checkout(ENGINE=engine_name, WAL_ARCHIVE="on")
    numbers = timeline.archived(checkout)
    xids = fresh(numbers, 2)
    newest = checkout.json("backup.base")["name"]
    numbers.add(3)
    last = numbers.add(4)
    numbers.archived()
    archive = base.archive_of(checkout.environment)
    before = checkout.environment.state
    line = ("--timeline", last.split(":")[0])
    with flipped(archive.bases / newest / base.TAR):
        told = checkout.run("restore", "--before-xid", last, *line, "--yes").stderr
        assert f"{newest} cannot be used" in told
        assert numbers.all() == [1, 2, 3]
        assert not any(one.proven for one in base.bases(archive) if one.name == newest)
        assert newest in checkout.run("archive.verify", code=None).stdout
        assert planned(checkout, last, *line) != newest
        assert newest in checkout.run("archive.list").stdout
        others = [one.path / base.TAR for one in base.bases(archive) if one.name != newest]
        with ExitStack() as stack:
            for path in others:
                stack.enter_context(flipped(path))
            present, volumes = checkout.environment.state, checkout.environment.engine.beside.volumes()
            refused = checkout.run("restore", "--before-xid", xids[1], *line, "--yes", code=3).stderr
            assert "cannot be used" in refused
            assert "No base backup" in refused
            assert (checkout.environment.state, numbers.all()) == (present, [1, 2, 3])
            assert checkout.environment.engine.beside.volumes() == volumes
    assert checkout.environment.state.incarnation == before.incarnation + 1
    checkout.run("archive.verify")
    assert planned(checkout, last, *line) == newest


def planned(checkout: Checkout, xid: str, *line: str) -> str:
    """The base backup that a restore would begin with."""
    name: str = checkout.json("restore", "--before-xid", xid, *line, "--plan")["plan"]["base"]["name"]
    return name


@contextmanager
def flipped(path: Path) -> Iterator[None]:
    """A file with one bit in its middle turned, for as long as the body lasts."""
    size = path.stat().st_size

    def flip() -> None:
        with path.open("r+b") as file:
            file.seek(size // 2)
            (byte,) = file.read(1)
            file.seek(size // 2)
            file.write(bytes([byte ^ 1]))

    flip()
    yield
    flip()


def test_a_branch_is_used_like_the_environment(numbers: Numbers) -> None:
    """psql, env and status reach it; it survives down; dropping it leaves nothing."""
    checkout = numbers.checkout
    xids = fresh(numbers, 3)
    # It changes nothing of what is there, and so it is no destructive task.
    told = checkout.run("restore", "--before-xid", xids[1], "--branch", "past", APP_ENV="production").stdout
    assert "The last transaction in it was committed at 2" in told
    count = ("--command", "SELECT count(*) FROM numbers", "--args", "-XAt")
    assert checkout.run("psql", "--branch", "past", *count).stdout.strip() == "1"
    assert checkout.run("psql", *count).stdout.strip() == "3"
    assert checkout.json("status", "--branch", "past")["status"] == "pass"
    url = checkout.json("env", "--branch", "past")["DATABASE_URL"]
    (branch,) = checkout.json("branch.list")["branches"]
    assert f":{branch['port']}/" in url
    assert "There is a branch past already" in checkout.run("restore", "--latest", "--branch", "past", code=3).stderr
    checkout.run("down")
    assert checkout.json("branch.list")["branches"][0]["running"] is False
    checkout.run("up")
    assert checkout.run("psql", "--branch", "past", *count).stdout.strip() == "1"
    checkout.run("branch.drop", "past", "--yes")
    assert checkout.json("branch.list")["branches"] == []
    assert checkout.environment.engine.beside.servers() == []


def test_a_table_comes_back_beside_its_namesake(numbers: Numbers) -> None:
    """As T_restored, with its rows and its key, for the owner only; a second time is refused."""
    checkout = numbers.checkout
    xids = fresh(numbers, 3)
    result = checkout.json("restore", "--before-xid", xids[2], "--table", "numbers")
    assert result["tables"] == ["public.numbers_restored"]
    assert checkout.query("SELECT count(*) FROM numbers_restored", role="owner") == [(2,)]
    assert checkout.query("SELECT has_table_privilege('app', 'numbers_restored', 'SELECT')") == [(False,)]
    again = checkout.run("restore", "--before-xid", xids[2], "--table", "numbers", code=3)
    assert "numbers_restored already" in again.stderr
    checkout.query("DROP TABLE numbers_restored")


def test_a_table_in_a_schema_with_a_dot_comes_back(numbers: Numbers) -> None:
    """It is named as in SQL; its rows are counted, and it comes back beside its namesake."""
    checkout = numbers.checkout
    checkout.query('CREATE SCHEMA "my.schema"; CREATE TABLE "my.schema".secret AS SELECT 1 AS one', role="owner")
    xids = fresh(numbers, 1)
    checkout.query('DELETE FROM "my.schema".secret')
    numbers.archived()
    result = checkout.json("restore", "--before-xid", xids[0], "--table", '"my.schema".secret')
    assert result["rows"] == {'"my.schema".secret': [0, 1]}
    assert result["tables"] == ['"my.schema".secret_restored']
    assert checkout.query('SELECT one FROM "my.schema".secret_restored', role="owner") == [(1,)]
    checkout.query('DROP SCHEMA "my.schema" CASCADE')


def test_a_partitioned_table_comes_back(numbers: Numbers) -> None:
    """It stands for its partitions: beside them each, or in place where it has got no others since."""
    checkout = numbers.checkout
    checkout.query(
        "CREATE TABLE cut (id int) PARTITION BY RANGE (id);"
        "CREATE TABLE cut_1 PARTITION OF cut FOR VALUES FROM (0) TO (9); INSERT INTO cut VALUES (1)",
        role="owner",
    )
    xids = fresh(numbers, 1)
    checkout.query("DELETE FROM cut")
    numbers.archived()
    words = ("restore", "--before-xid", xids[0], "--table", "cut")
    assert checkout.json(*words)["tables"] == ["public.cut_1_restored"]
    checkout.query("CREATE TABLE cut_2 PARTITION OF cut DEFAULT", role="owner")
    told = checkout.run(*words, "--replace", "--yes", code=1).stderr
    assert "public.cut has got partitions since (public.cut_2)" in told
    checkout.query("DROP TABLE cut_2")
    checkout.run(*words, "--replace", "--yes")
    assert checkout.query("SELECT id FROM cut") == [(1,)]
    checkout.query("DROP TABLE cut, cut_1_restored")


def test_a_table_comes_back_in_place(numbers: Numbers) -> None:
    """With --replace its rows are those of then, every other table is as it is now, and invoke undo takes it back."""
    checkout = numbers.checkout
    xids = fresh(numbers, 3)
    checkout.query("CREATE TABLE other (number int)", role="owner")
    numbers.archived()
    checkout.run("restore", "--before-xid", xids[1], "--table", "numbers", "--replace", "--yes")
    assert numbers.all() == [1]
    assert checkout.query("SELECT to_regclass('other') IS NOT NULL") == [(True,)]
    # Of the transactions that it took, none is to be gone back to.
    assert checkout.run("history").stdout.splitlines()[-1] == "to take the restore back: invoke undo"
    checkout.run("undo")
    assert numbers.all() == [1, 2, 3]
    checkout.query("DROP TABLE other")


def test_rows_that_others_refer_to_do_not_go(numbers: Numbers) -> None:
    """Where a row of now refers to one that was not there then, the table is not replaced, and the key is named."""
    checkout = numbers.checkout
    xids = fresh(numbers, 3)
    checkout.query("CREATE TABLE referring (number int REFERENCES numbers)", role="owner")
    checkout.query("INSERT INTO referring VALUES (3)")
    numbers.archived()
    refused = checkout.run("restore", "--before-xid", xids[1], "--table", "numbers", "--replace", "--yes", code=1)
    assert "referring_number_fkey" in refused.stderr
    assert "or restore beside: the same without --replace." in refused.stderr
    assert numbers.all() == [1, 2, 3]
    checkout.query("DROP TABLE referring")


def test_a_table_that_is_another_now_comes_back_beside(numbers: Numbers) -> None:
    """With other columns, or none at all any more, --replace is refused, and what the hint says brings it back."""
    checkout = numbers.checkout
    fresh(numbers, 1)
    checkout.query("CREATE TABLE young AS SELECT 1 AS one", role="owner")
    words = ("restore", "--before-xid", numbers.add(2), "--table", "young")
    numbers.archived()
    checkout.query("ALTER TABLE young ADD COLUMN two int", role="owner")
    refused = checkout.run(*words, "--replace", "--yes", code=1).stderr
    assert "public.young has other columns now than it had then (two integer)" in refused
    assert "Restore beside: the same without --replace." in refused
    checkout.query("DROP TABLE young", role="owner")
    refused = checkout.run(*words, "--replace", "--yes", code=1).stderr
    assert "Restore beside: the same without --replace." in refused
    checkout.run(*words)
    assert checkout.query("SELECT one FROM young_restored", role="owner") == [(1,)]
    checkout.query("DROP TABLE young_restored", role="owner")


def test_words_that_contradict_each_other_are_refused(numbers: Numbers) -> None:
    """A backup or --into with a moment, --branch with --table, --replace without --table: exit code 2, nothing done."""
    for words in (
        ("latest-but-one", "--latest"),
        ("--latest", "--into", "beside"),
        ("--latest", "--branch", "b", "--table", "numbers"),
        ("--latest", "--replace"),
        ("--latest", "--branch", "../b"),
        ("--plan",),
    ):
        numbers.checkout.run("restore", *words, code=2)


def test_it_works_with_a_broken_server(numbers: Numbers) -> None:
    """A data directory that no server starts on is left as it is, and the last commit is there again."""
    checkout = numbers.checkout
    fresh(numbers, 2)
    checkout.run("down")
    environment = checkout.environment
    beside = environment.engine.beside
    broken = beside.volume(str(environment.state.incarnation))
    from tests import ledger

    with ledger.archive({"global/pg_control": b"\0" * 8192}) as stream:
        beside.write(broken, stream)
    checkout.run("restore", "--latest", "--yes")
    assert numbers.all() == [1, 2]
    assert broken in beside.volumes()


def test_a_checkout_without_an_archive_stays_as_it_was(make_checkout: Callable[..., Checkout]) -> None:
    """Nothing is written where there is nothing to go back in."""
    checkout = make_checkout(ENGINE="embedded", WAL_ARCHIVE="on")
    assert "holds no WAL archive" in checkout.run("restore", "--at", "now", code=1).stderr
    assert not (checkout.root / ".env").exists()
    assert not (checkout.root / ".drydock").exists()


def test_an_environment_that_was_never_up_is_none(numbers: Numbers, make_checkout: Callable[..., Checkout]) -> None:
    """A plan in an empty checkout records no ports: nobody else's servers are asked, and nobody is told of port 0."""
    checkout = make_checkout(ENGINE="embedded", WAL_ARCHIVE="on")
    numbers.checkout.run("down")  # so that nobody writes below it
    shutil.copytree(numbers.checkout.root / "backups", checkout.root / "backups", dirs_exist_ok=True)
    numbers.checkout.run("up")
    checkout.run("restore", "--latest", "--plan")
    for words in (["env"], ["health"], ["status"], ["backup"], ["redis-cli", "--command", "PING"]):
        assert "This checkout has no environment yet" in checkout.run(*words, code=1).stderr
    checkout.run("destroy", "--yes")


def test_a_cluster_that_does_not_exist_is_said_to(numbers: Numbers) -> None:
    """It has no archive, and those that have one are named."""
    told = numbers.checkout.run("restore", "--latest", "--cluster", "123", code=1).stderr
    assert "holds no WAL archive of the cluster 123" in told
    assert f"There are: {numbers.checkout.environment.state.system_identifier} " in told


def test_an_empty_checkout_with_only_backups_is_enough(numbers: Numbers, tmp_path: Path) -> None:
    """Another folder, other passwords, no server: the last commit is there, and the checkout is ready."""
    fresh(numbers, 2)
    numbers.checkout.run("down")
    other = Checkout(tmp_path / "other", **{**numbers.checkout.environ, "WAL_ARCHIVE": "on"})
    shutil.copytree(numbers.checkout.root / "backups", other.root / "backups", dirs_exist_ok=True)
    try:
        other.run("restore", "--latest", "--yes")
        assert other.query("SELECT max(number) FROM numbers") == [(2,)]
        assert timeline.complaints(other) == []
        other.run("up")
    finally:
        other.remove()
        numbers.checkout.run("up")
