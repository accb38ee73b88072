"""Databases in which drydock alone works: what the index knows of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from drydock import postgres
from drydock.backup.encryption import OPEN
from drydock.recovery.archive.laying_out import descents
from drydock.recovery.history import indexing
from drydock.recovery.history.queries import History
from drydock.recovery.wal.positions import Descent, Stretch
from tests.wal_server import WalServer

if TYPE_CHECKING:
    from pathlib import Path

    from drydock.engine.embedded import EmbeddedEngine
    from drydock.recovery.archive.folders import Archive

FIRST = Descent((Stretch(1, 0, None),))
# Of each kind that a load has: tables, rows alone, catalogues alone (no cache knows of a comment), a signature alone,
# and what all databases share.
LOAD = (
    "CREATE TABLE t (id int)",
    "INSERT INTO t VALUES (1)",
    "COMMENT ON TABLE t IS 'loaded'",
    """SELECT pg_logical_emit_message(true, 'drydock', '{"task": "invoke restore"}')""",
    "CREATE ROLE guest",
    "DROP ROLE guest",
    "BEGIN; SAVEPOINT a; CREATE TABLE u (id int); RELEASE a; COMMIT",
)


def make(server: WalServer, name: str, oid: int, *, aside: bool) -> None:
    server.query(f"CREATE DATABASE {name} OID {oid}")
    if aside:
        say(server, postgres.ASIDE, oid)


def say(server: WalServer, prefix: str, oid: int, end: str = "COMMIT") -> None:
    server.query("BEGIN", f"SELECT pg_logical_emit_message(true, '{prefix}', '{oid}')", end)


def load(server: WalServer, database: str, *statements: str) -> None:
    with psycopg.connect(f"host=127.0.0.1 port={server.port} user=postgres dbname={database}", autocommit=True) as one:
        for statement in statements:
            one.execute(statement.encode())


def counted(engine: EmbeddedEngine, archive: Archive, descent: Descent, begin: int, end: int = 1 << 60) -> int:
    assert indexing.refresh(engine, archive, OPEN).problems == []
    with History(archive) as history:
        return history.between(descent, begin, end).transactions


def test_what_is_loaded_counts_from_its_handing_over_on(
    server: WalServer, engine: EmbeddedEngine, tmp_path: Path
) -> None:
    """Until then nothing in it does, of whatever kind, also where an indexing went on amid it; others' do."""
    begin = server.lsn()
    make(server, "coming", 50_000, aside=True)
    load(server, "coming", *LOAD)
    say(server, postgres.HANDED_OVER, 50_000, "ROLLBACK")
    archive = server.archive(tmp_path)
    assert counted(engine, archive, FIRST, begin) == 0
    load(server, "coming", "INSERT INTO t VALUES (2)")
    make(server, "others", 50_001, aside=False)
    server.query("CREATE ROLE shared_by_all")
    say(server, postgres.HANDED_OVER, 50_000)
    middle = server.lsn()
    load(server, "coming", "INSERT INTO t VALUES (3)")
    load(server, "others", *LOAD)
    server.query("DROP DATABASE coming", "DROP DATABASE others", "DROP ROLE shared_by_all")
    archive = server.archive(tmp_path)
    assert counted(engine, archive, FIRST, begin, middle) == 1
    assert counted(engine, archive, FIRST, middle) == 1 + len(LOAD) + 1


def test_a_database_is_aside_on_its_own_line_only(embedded_engine: str, engine: EmbeddedEngine, tmp_path: Path) -> None:
    """One from before a fork is so on both timelines; its number given anew, on the other one, to a user's is not."""
    assert embedded_engine
    server = WalServer(tmp_path / "server")
    server.start()
    make(server, "coming", 50_000, aside=True)
    forked = server.lsn()
    server.stop()
    other = server.fork(tmp_path / "other")
    server.start()
    make(server, "proof", 50_001, aside=True)
    for name in ("coming", "proof"):
        load(server, name, *LOAD)
    archive = server.archive(tmp_path)
    server.stop()
    other.start()
    make(other, "shop", 50_001, aside=False)
    for name in ("coming", "shop"):
        load(other, name, *LOAD)
    other.archive(tmp_path, "2")
    other.stop()
    assert counted(engine, archive, FIRST, forked) == 0
    assert counted(engine, archive, descents(archive, OPEN)[2], forked) == len(LOAD)


@pytest.mark.parametrize("aside", [True, False])
def test_a_number_given_again_is_anybodys(
    server: WalServer, engine: EmbeddedEngine, tmp_path: Path, *, aside: bool
) -> None:
    """A dropped database takes its standing with it."""
    make(server, "proof", 50_002, aside=True)
    server.query("DROP DATABASE proof")
    begin = server.lsn()
    make(server, "shop", 50_002, aside=aside)
    load(server, "shop", "CREATE TABLE t (id int)")
    server.query("DROP DATABASE shop")
    assert counted(engine, server.archive(tmp_path), FIRST, begin) == (not aside)
