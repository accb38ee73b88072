from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drydock.backup.encryption import OPEN
from drydock.recovery.history import indexing, naming, relations
from drydock.recovery.history.queries import History

if TYPE_CHECKING:
    from pathlib import Path

    import psycopg
    import pytest

    from drydock.engine.embedded import EmbeddedEngine
    from drydock.recovery.archive.folders import Archive
    from tests.wal_server import WalServer

TABLES = ("a", "b", "c")


def take_map(server: WalServer, archive: Archive) -> None:
    with server.connect() as connection:
        relations.write(archive, relations.read(connection))


def names_of(history: History, xid: int) -> set[str]:
    (found,) = history.commits_of(xid)
    return {name.rpartition(":")[2] for name in history.names.tables(found.timeline, found.lsn, found.rows)}


def run(server: WalServer, connection: psycopg.Connection[Any], *statements: str) -> int:
    with connection.transaction():
        for statement in statements:
            connection.execute(statement.encode())
        return server.xid(connection)


def start_over(server: WalServer) -> None:
    server.query("DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
    server.query(*(f"CREATE TABLE {name} (id serial PRIMARY KEY, v text)" for name in TABLES))


STEPS = st.lists(
    st.sampled_from(
        ["insert"] * 4
        + ["map"] * 2
        + ["swap", "truncate", "truncate and rename", "full", "rewrite", "recreate", "add", "move", "rolled back"]
    ),
    min_size=4,
    max_size=14,
)


def change(step: str, rng: random.Random) -> list[str]:
    """Statements of one transaction that leave the three names in place, whatever they stand for."""
    one, other = rng.sample(TABLES, 2)
    swap = [
        f"ALTER TABLE {one} RENAME TO passing",
        f"ALTER TABLE {other} RENAME TO {one}",
        f"ALTER TABLE passing RENAME TO {other}",
    ]
    return {
        "swap": swap,
        "truncate": [f"TRUNCATE {one}"],
        "truncate and rename": [f"LOCK TABLE {one}", f"TRUNCATE {other}", *swap],
        "full": [f"CLUSTER {one} USING {one}_by_v"],
        "rewrite": [f"ALTER TABLE {one} ALTER COLUMN v TYPE varchar({rng.randint(100, 9999)})"],
        "recreate": [f"DROP TABLE {one}", f"CREATE TABLE {one} (id serial PRIMARY KEY, v text)"],
        "add": [f"ALTER TABLE {one} ADD COLUMN more_{rng.randint(0, 10**9)} int"],
        "move": [
            "CREATE SCHEMA IF NOT EXISTS elsewhere",
            f"ALTER TABLE {one} SET SCHEMA elsewhere",
            f"ALTER TABLE elsewhere.{one} SET SCHEMA public",
        ],
        "rolled back": ["SAVEPOINT s", f"TRUNCATE {one}", "ROLLBACK TO s", f"TRUNCATE {other}"],
    }[step]


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=STEPS, seed=st.integers(0, 2**32))
def test_no_name_is_ever_wrong(
    server: WalServer, engine: EmbeddedEngine, tmp_path_factory: pytest.TempPathFactory, steps: list[str], seed: int
) -> None:
    """Whatever is renamed, exchanged, truncated and made anew: a table has its own name, or none."""
    rng, folder = random.Random(seed), tmp_path_factory.mktemp("archive")  # noqa: S311 - a seed
    archive = server.archive(folder)
    start_over(server)
    for name in TABLES:
        server.query(f"CREATE INDEX {name}_by_v ON {name} (v)")
    ledger: dict[int, str] = {}
    with server.connect() as connection:
        for step in steps:
            if step == "map":
                take_map(server, archive)
            elif step == "insert":
                table = rng.choice(TABLES)
                ledger[run(server, connection, f"INSERT INTO {table} (v) VALUES ('x')")] = table
            elif step == "full":
                table = rng.choice(TABLES)
                connection.execute(f"VACUUM FULL {table}".encode())
            else:
                run(server, connection, *change(step, rng))
    server.archive(folder)
    assert indexing.refresh(engine, archive, OPEN).problems == []
    with History(archive) as history:
        told = {xid: names_of(history, xid) for xid in ledger}
    wrong = {xid: names for xid, names in told.items() for name in names if "?" not in name and name != ledger[xid]}
    assert not wrong, (steps, seed, ledger)


def test_what_a_map_proves_is_told(server: WalServer, engine: EmbeddedEngine, tmp_path: Path) -> None:
    """Before and after a TRUNCATE, with a map on either side; TOAST is folded, other schemas are named."""
    start_over(server)
    archive = server.archive(tmp_path)
    take_map(server, archive)
    with server.connect() as connection:
        before = run(server, connection, "INSERT INTO a (v) VALUES ('x')")
        wide = run(
            server, connection, "INSERT INTO b (v) SELECT string_agg(md5(g::text), '') FROM generate_series(1, 900) g"
        )
        run(server, connection, "TRUNCATE a")
        after = run(server, connection, "INSERT INTO a (v) VALUES ('x')")
        run(server, connection, "CREATE SCHEMA IF NOT EXISTS other", "CREATE TABLE other.d (id int)")
        other = run(server, connection, "INSERT INTO other.d VALUES (1)")
        large = run(server, connection, "SELECT lo_from_bytea(0, 'x')")
        take_map(server, archive)
        server.query("DROP TABLE other.d")
    server.archive(tmp_path)
    indexing.refresh(engine, archive, OPEN)
    with History(archive) as history:
        told = [names_of(history, xid) for xid in (before, wide, after, other, large)]
    assert told == [{"a"}, {"b"}, {"a"}, {"other.d"}, {"large objects"}]


def test_without_a_map_nothing_is_told(server: WalServer, engine: EmbeddedEngine, tmp_path: Path) -> None:
    """A file that no map knows is unknown, with its number."""
    start_over(server)
    with server.connect() as connection:
        xid = run(server, connection, "INSERT INTO a (v) VALUES ('x')")
    number = server.query("SELECT pg_relation_filenode('a')")[0][0]
    archive = server.archive(tmp_path)
    indexing.refresh(engine, archive, OPEN)
    with History(archive) as history:
        assert names_of(history, xid) == {f"?({number})"}
    assert number != naming.LARGE_OBJECTS


def test_a_map_tells_nothing_across_wal_that_was_not_read(
    server: WalServer, engine: EmbeddedEngine, tmp_path: Path
) -> None:
    """With a hole between a transaction and the only map, its table stays unknown."""
    start_over(server)
    with server.connect() as connection:
        xid = run(server, connection, "INSERT INTO a (v) VALUES ('x')")
    server.query("SELECT pg_switch_wal()", "INSERT INTO b (v) VALUES ('x')")
    hole = server.query("SELECT pg_walfile_name(pg_current_wal_insert_lsn())")[0][0]
    server.query("SELECT pg_switch_wal()", "INSERT INTO b (v) VALUES ('x')")
    archive = server.archive(tmp_path)
    take_map(server, archive)
    server.archive(tmp_path)
    (archive.folder / "1" / hole).unlink()
    indexing.refresh(engine, archive, OPEN)
    with History(archive) as history:
        assert "?" in names_of(history, xid).pop()
