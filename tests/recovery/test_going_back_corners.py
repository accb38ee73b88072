"""Restores to a moment where something is special: unlogged tables, raised settings, a closed database."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from tests import timeline
from tests.checkout import Checkout

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.timeline import Numbers


@pytest.fixture(scope="module")
def numbers(engine_name: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Numbers]:
    """A checkout of this module's own on each engine, archived."""
    checkout = Checkout(tmp_path_factory.mktemp("corners") / "shop", ENGINE=engine_name, WAL_ARCHIVE="on")
    yield timeline.archived(checkout)
    checkout.remove()


def test_what_the_wal_asks_for_stays_with_the_server(numbers: Numbers) -> None:
    """Prepared transactions need a setting that is younger than the base backup: branch and cluster start with it."""
    checkout = numbers.checkout
    checkout.query("ALTER SYSTEM SET max_prepared_transactions = 5")
    checkout.run("down")
    checkout.run("up")
    environment = checkout.environment
    with psycopg.connect(environment.database_url(environment.superuser)) as connection:
        connection.execute("INSERT INTO numbers VALUES (1)")
        connection.execute("PREPARE TRANSACTION 'waiting'")
    numbers.archived()
    told = checkout.run("restore", "--latest", "--branch", "past").stderr
    assert "once more with max_prepared_transactions=5" in told
    checkout.run("branch.drop", "past", "--yes")
    checkout.run("restore", "--latest", "--yes")
    assert checkout.query("SELECT gid FROM pg_prepared_xacts") == [("waiting",)]
    assert checkout.query("SHOW max_prepared_transactions") == [("5",)]
    checkout.query("COMMIT PREPARED 'waiting'")
    assert numbers.all() == [1]


def test_a_prepared_transaction_is_read_where_a_restore_began_a_timeline(numbers: Numbers) -> None:
    """Replay comes to the next timeline's first record and reads what was prepared by the name of the one before."""
    checkout = numbers.checkout
    numbers.archived()
    transactions = checkout.json("history")["transactions"]
    first = min(line["xid"] for line in transactions if line["timeline"] == 2)
    checkout.run("restore", "--before-xid", f"2:{first}", "--branch", "past")
    query = ("--command", "SELECT gid FROM pg_prepared_xacts", "--args", "-XAt")
    assert checkout.run("psql", "--branch", "past", *query).stdout.strip() == "waiting"
    checkout.run("branch.drop", "past", "--yes")


def test_a_restore_whose_servers_do_not_come_up_names_the_way_back(numbers: Numbers) -> None:
    """The new data is in place and Redis does not start: the hint has the log, and undo."""
    checkout = numbers.checkout
    numbers.add(2)
    numbers.archived()
    path = checkout.root / "compose" / "redis" / "redis.conf"
    sound = path.read_text()
    path.write_text(f"{sound}\nnonsense yes\n")
    try:
        told = checkout.run("restore", "--latest", "--yes", code=5).stderr
    finally:
        path.write_text(sound)
    assert "invoke undo" in told
    checkout.run("undo")
    assert 2 in numbers.all()


def test_what_has_no_rows_in_the_wal_is_not_brought_back(numbers: Numbers) -> None:
    """An unlogged table and a materialized view are refused by name, beside and in place; the rows of now stay."""
    checkout = numbers.checkout
    checkout.query("CREATE UNLOGGED TABLE cache AS SELECT 1 AS one", role="owner")
    checkout.query("CREATE MATERIALIZED VIEW summary AS SELECT count(*) FROM numbers", role="owner")
    numbers.archived()
    told = checkout.run("restore", "--latest", "--table", "cache", "--replace", "--yes", code=3).stderr
    assert "cache was unlogged at that moment" in told
    assert checkout.query("SELECT one FROM cache") == [(1,)]
    told = checkout.run("restore", "--latest", "--table", "cache", code=3).stderr
    assert "cache was unlogged at that moment" in told
    told = checkout.run("restore", "--latest", "--table", "summary", "--replace", "--yes", code=3).stderr
    assert "REFRESH MATERIALIZED VIEW summary" in told
    checkout.query("DROP TABLE cache", role="owner")
    checkout.query("DROP MATERIALIZED VIEW summary", role="owner")


def test_tables_and_branches_undo_nothing_else(numbers: Numbers) -> None:
    """Their plan tells of no transactions that would be undone, and the rows counted are those of the tables named."""
    checkout = numbers.checkout
    checkout.query("CREATE TABLE alike AS SELECT 1 AS one", role="owner")
    xid = numbers.add(3)
    checkout.query("INSERT INTO numbers VALUES (4)")
    numbers.archived()
    words = ("restore", "--before-xid", xid)
    assert "will be undone: 2 transactions" in checkout.run(*words, "--plan").stdout
    for beside in (("--branch", "past"), ("--table", "alike"), ("--table", "alike", "--replace")):
        told = checkout.run(*words, *beside, "--plan").stdout
        assert "takes about" in told
        assert "undone" not in told
        assert checkout.json(*words, *beside, "--plan")["plan"]["undone"] is None
    told = checkout.run(*words, "--table", "alike", "--replace", code=3).stderr
    assert "undone" not in told
    assert "\n  alike has as many rows then as now\n" in told
    checkout.query("DROP TABLE alike", role="owner")


def test_a_branch_subscribes_to_nothing(numbers: Numbers) -> None:
    """An enabled subscription is in it, and nobody takes for it what its publisher keeps for the environment."""
    checkout = numbers.checkout
    workers = "SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'logical replication%'"
    checkout.query(
        "CREATE SUBSCRIPTION news CONNECTION 'host=127.0.0.1 port=1 dbname=x' PUBLICATION y WITH (connect = false)"
    )
    try:
        checkout.query("ALTER SUBSCRIPTION news ENABLE")
        numbers.archived()
        checkout.run("restore", "--latest", "--branch", "past")
        asked = f"SELECT subenabled, ({workers}) FROM pg_subscription"
        told = checkout.run("psql", "--branch", "past", "--role", "superuser", "--command", asked, "--args", "-XAt")
        assert told.stdout.strip() == "t|0"
        assert checkout.query(workers) != [(0,)]
        checkout.run("branch.drop", "past", "--yes")
    finally:
        for words in ("DISABLE", "SET (slot_name = NONE)"):
            checkout.query(f"ALTER SUBSCRIPTION news {words}")
        checkout.query("DROP SUBSCRIPTION news")


def test_before_a_database_was_dropped_it_is_there(numbers: Numbers) -> None:
    """Its files go, and it is made invalid, before the record that commits the drop: the stop is before all of that."""
    checkout = numbers.checkout
    for statement in ("CREATE DATABASE second OWNER app_owner", "CREATE DATABASE third"):
        checkout.query(statement)
    checkout.query("CREATE TABLE kept AS SELECT generate_series(1, 500)", database="second")
    third = dropped(numbers, "third")
    second = dropped(numbers, "second")
    checkout.run("restore", "--before-xid", second, "--yes")
    assert checkout.query("SELECT count(*) FROM kept", database="second") == [(500,)]
    assert checkout.query("SELECT datname FROM pg_database WHERE datname = 'third'") == []
    checkout.run("undo")
    checkout.run("restore", "--before-xid", third, "--branch", "past")
    ask = ("--command", "SELECT datname FROM pg_database WHERE datconnlimit = -1 ORDER BY 1", "--args", "-XAt")
    assert {"second", "third"} < set(checkout.run("psql", "--branch", "past", *ask).stdout.split())
    checkout.run("branch.drop", "past", "--yes")


def dropped(numbers: Numbers, database: str) -> str:
    """Drop a database; returns its transaction, which is the newest that ended."""
    numbers.checkout.query(f"DROP DATABASE {database}")
    query = "SELECT pg_walfile_name(pg_current_wal_lsn()), pg_snapshot_xmax(pg_current_snapshot())::text::bigint - 1"
    ((segment, xid),) = numbers.checkout.query(query)
    numbers.archived()
    return f"{int(segment[:8], 16)}:{xid}"


def test_a_drop_is_found_where_the_catalogue_of_databases_was_rewritten(numbers: Numbers) -> None:
    """VACUUM FULL gives it another file, whose rows are told from those of other catalogues all the same."""
    checkout = numbers.checkout
    checkout.query("CREATE DATABASE second")
    checkout.query("VACUUM FULL pg_database")
    xid = dropped(numbers, "second")
    checkout.run("restore", "--before-xid", xid, "--yes")
    assert checkout.query("SELECT datconnlimit FROM pg_database WHERE datname = 'second'") == [(-1,)]
    checkout.query("DROP DATABASE second")


def test_a_database_that_was_closed_at_that_moment_is_opened(numbers: Numbers) -> None:
    """Before a reset's own transaction: its rows are not counted, and branch, table and cluster have them all."""
    checkout = numbers.checkout
    checkout.query("DELETE FROM numbers")
    numbers.add(1)
    checkout.run("reset")
    numbers.archived()
    transactions = checkout.json("history")["transactions"]
    swap = next(line for line in transactions if line["who"].get("task") == "invoke reset")  # the newest comes first
    words = ("restore", "--before-xid", f"{swap['timeline']}:{swap['xid']}")
    checkout.run(*words, "--branch", "past")
    count = ("--command", "SELECT count(*) FROM numbers", "--args", "-XAt")
    assert checkout.run("psql", "--branch", "past", *count).stdout.strip() == "1"
    checkout.run("branch.drop", "past", "--yes")
    checkout.run(*words, "--table", "numbers")
    assert checkout.query("SELECT number FROM numbers_restored", role="owner") == [(1,)]
    result = checkout.run(*words, "--yes")
    told = "app was closed at that moment, as it is while it is replaced: its rows are not counted\n"
    assert told in result.stderr
    assert told in result.stdout
    assert "rows of" not in result.stdout + result.stderr
    assert numbers.all() == [1]


def test_a_dropped_application_database_is_brought_back_and_not_seeded_anew(numbers: Numbers) -> None:
    """`up` puts no empty one in its place, `status` names the way back, and undo leads to where it is gone."""
    checkout = numbers.checkout
    checkout.query("DELETE FROM numbers")
    numbers.add(7)
    (moment,) = checkout.query("SELECT clock_timestamp()::text")[0]
    numbers.archived()
    checkout.query("DROP DATABASE app WITH (FORCE)", database="postgres")
    query = next(check for check in checkout.json("status", code=None)["checks"] if check["name"] == "postgres:query")
    assert query["fix"].startswith("invoke restore --at")
    told = checkout.run("up", code=3).stderr
    assert "The database app is gone from this cluster, which had it before." in told
    assert "invoke restore --at" in told
    checkout.run("restore", "--at", moment, "--yes")
    assert numbers.all() == [7]
    assert "The database app is gone" in checkout.run("undo").stderr
    checkout.run("up", code=3)
    checkout.run("redo")
    assert numbers.all() == [7]
