from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from drydock.recovery.bases import base
from drydock.recovery.upkeep import attendant
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.checkout import Checkout

# How an application says who it is, as the documentation has it.
SIGN = """SELECT pg_logical_emit_message(true, 'drydock', json_build_object(
    'application', 'the cleaner', 'role', current_user)::text)"""


@pytest.fixture(scope="module")
def shop(ready: Checkout) -> Iterator[Checkout]:
    """The shared checkout with a base backup, so that a restore is offered; its data is put back at the end."""
    archive = base.archive_of(ready.environment)
    eventually(lambda: base.bases(archive), "the first base backup", 60)
    yield ready
    ready.run("reset")


def listed(shop: Checkout, *words: str) -> list[dict[str, Any]]:
    """What the task says with --json."""
    found: list[dict[str, Any]] = shop.json("history", *words)["transactions"]
    return found


def test_deleted_rows_are_the_newest_line(shop: Checkout) -> None:
    """The delete that has just happened is on top: when, its number, the table, how many, and how to take it back."""
    shop.query("DELETE FROM messages WHERE id IN (SELECT id FROM messages LIMIT 7)")
    result = shop.run("history", "--limit", "3")
    heading, first, *_, hint = result.stdout.splitlines()
    assert heading.split() == ["time", "xid", "WAL", "who", "changes"]
    found = re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}  (\d+)  +\S+ k?B +messages -7", first)
    assert found, result.stdout
    assert hint.endswith(f"invoke restore --before-xid {found[1]}")


def test_before_there_is_a_base_backup_no_restore_is_offered(shop: Checkout) -> None:
    """As after the first `up`, while its base backup is being taken: a restore would be refused."""
    shop.query("UPDATE users SET updated_at = now()")
    attendant.stop(shop.environment.settings)
    taken = base.archive_of(shop.environment).bases
    aside = taken.rename(taken.with_name("aside"))
    try:
        *_, last = shop.run("history").stdout.splitlines()
    finally:
        aside.rename(taken)
    assert "none can be taken back: they are older than the first base backup" in last
    assert "restore --before-xid" in shop.run("history").stdout


def test_a_transaction_that_says_who_it_is_is_told_so(shop: Checkout) -> None:
    """An application's message is shown, and drydock's own tasks send theirs; in --json it is always an object."""
    shop.query(f"BEGIN; {SIGN}; UPDATE users SET updated_at = now(); COMMIT")
    assert listed(shop)[0]["who"] == {"application": "the cleaner", "role": "postgres"}
    plain = "pg_logical_emit_message(true, 'drydock', 'a plain word')"
    for message, told in ((plain, {"text": "a plain word"}), ("1", {})):
        shop.query(f"BEGIN; SELECT {message}; UPDATE users SET updated_at = now(); COMMIT")
        assert listed(shop)[0]["who"] == told
    shop.run("seed", code=None)
    shop.run("reset")
    said = [line["who"]["task"] for line in listed(shop, "--limit", "100000") if "task" in line["who"]]
    assert "invoke reset" in said
    assert any(task.startswith("invoke migrate (") for task in said)
    assert "invoke seed --size small" in said


def test_aborted_ones_are_told_on_request(shop: Checkout) -> None:
    """What was rolled back is not listed, and listed as such with --aborted."""
    shop.query("BEGIN; DELETE FROM messages; ROLLBACK")
    assert all(line["state"] == "committed" for line in listed(shop))
    first = listed(shop, "--aborted")[0]
    assert (first["state"], list(first["tables"])) == ("aborted", ["messages"])
    assert "[aborted] messages -" in shop.run("history", "--aborted", "--limit", "1").stdout


def test_a_table_and_a_time_narrow_it_down(shop: Checkout) -> None:
    """--table lists what changed this table only; --since what came after; a table nobody knows is an error."""
    shop.query("UPDATE users SET updated_at = now() WHERE id = (SELECT min(id::text)::uuid FROM users)")
    found = listed(shop, "--table", "users", "--since", "1 hour ago")
    assert found
    assert all("users" in line["tables"] for line in found)
    now = datetime.now(UTC).isoformat()
    assert "No transaction fits. The archive goes back to 20" in shop.run("history", "--since", now).stdout
    assert listed(shop, "--table", "public.users", "--limit", "1") == found[:1]
    refused = shop.run("history", "--table", "mesages", code=1).stderr
    assert "no table 'mesages'" in refused
    assert "Near it: messages" in refused
    assert shop.run("history", "--since", "tomorrow noon", code=None).returncode != 0
    assert "shows nothing" in shop.run("history", "--limit", "0", code=2).stderr


def test_a_table_that_was_never_written_to_is_known(shop: Checkout) -> None:
    """As after a reset or restore, which make every table anew; in another database's place its name says so."""
    shop.query("CREATE TABLE untouched (id int)")
    try:
        assert "No transaction fits" in shop.run("history", "--table", "untouched").stdout
    finally:
        shop.query("DROP TABLE untouched")
    shop.query("UPDATE messages SET role = role")
    shop.run("reset")
    told = shop.run("history", "--table", "messages").stdout
    assert "No transaction fits" in told
    assert re.search(r"Other databases have tables of that name: .*--table app__previous:messages", told)
    assert listed(shop, "--table", "app__previous:messages")
    shop.query("UPDATE messages SET role = role")
    assert len(listed(shop, "--table", "messages")) == 1


def test_the_newest_line_after_a_reset_is_the_reset(shop: Checkout) -> None:
    """What drydock does to databases as a whole is no line, and a plan counts none of it."""
    shop.run("reset")
    moment = datetime.now(UTC)
    shop.run("reset")
    found = listed(shop, "--since", moment.isoformat())
    assert [line["who"].get("task") for line in found] == ["invoke reset"]
    plan = shop.json("restore", "--at", moment.isoformat(), "--plan")["plan"]
    assert plan["undone"]["transactions"] == 1


def test_what_drydock_proves_and_loads_is_no_line(shop: Checkout) -> None:
    """Nor does a plan count it: the user's own changes stay, in a database loaded beside from when it was ready on."""
    moment = datetime.now(UTC).isoformat()
    shop.query("UPDATE organizations SET name = name")
    shop.run("backup")
    shop.run("restore", "latest", "--into", "loaded", "--yes")
    shop.run("restore", "latest", "--yes")
    try:
        shop.query("UPDATE users SET updated_at = now()", database="loaded")
        found = listed(shop, "--since", moment)
        *lines, hint = shop.run("history", "--since", moment, "--all", "--limit", "100").stdout.splitlines()
        plan = shop.json("restore", "--at", moment, "--plan")["plan"]["undone"]
    finally:
        shop.query("DROP DATABASE loaded")
    beside, restore, own = found
    assert [list(beside["tables"]), restore["who"]] == [["loaded:users"], {"task": "invoke restore"}]
    assert [name.partition(":")[2] for name in own["tables"]] == ["organizations"]
    assert (plan["transactions"], plan["schema_changes"], len(plan["tables"])) == (3, 0, 2)
    everything = listed(shop, "--since", moment, "--all", "--limit", "100000")
    assert [line for line in everything if not line["aside"]] == found
    assert len(everything) > len(found) + 100
    assert sum("[aside] schema" in line for line in lines) > 50
    assert hint.endswith(f"--before-xid {beside['xid']}")


def test_databases_of_the_users_own_are_told(shop: Checkout) -> None:
    """What was changed in them, also when they are gone; a plan counts it."""
    moment = datetime.now(UTC).isoformat()
    shop.query("CREATE DATABASE shop2")
    shop.query("CREATE TABLE wares AS SELECT 1 AS id", database="shop2")
    shop.run("history")
    shop.query("DROP DATABASE shop2")
    (made,) = listed(shop, "--since", moment)
    assert (list(made["tables"]), made["schema_changed"]) == (["shop2:wares"], True)
    assert shop.json("restore", "--at", moment, "--plan")["plan"]["undone"]["transactions"] == 1


def test_a_database_whose_drop_was_interrupted_is_passed_over(shop: Checkout) -> None:
    """Nobody can connect to it; the names of all others are known nevertheless."""
    shop.query("CREATE DATABASE broken")
    shop.query("UPDATE pg_database SET datconnlimit = -2 WHERE datname = 'broken'")
    try:
        assert shop.json("history")["missing"] == []
    finally:
        shop.query("DROP DATABASE broken")


def test_the_history_is_there_without_the_server(shop: Checkout) -> None:
    """With Postgres down what was archived is listed all the same."""
    before = listed(shop, "--limit", "5")
    shop.run("down")
    try:
        after = shop.json("history", "--limit", "5")
    finally:
        shop.run("up")
    assert after["missing"]
    assert [line["xid"] for line in after["transactions"]] == [line["xid"] for line in before]
