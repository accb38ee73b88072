"""Records read from the pages of the WAL, against what pg_waldump prints of the same WAL."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from drydock.backup.encryption import OPEN
from drydock.errors import DrydockError
from drydock.recovery.history import indexing
from drydock.recovery.history.index import moment_of
from drydock.recovery.history.queries import History
from drydock.recovery.wal import record_bodies, records
from drydock.recovery.wal.positions import SEGMENT_SIZE, parse_lsn
from drydock.recovery.wal.records import Records, end_of_wal
from drydock.recovery.wal.waldump import PAGE, Reading, last_valid, unreadable
from tests.waiting import eventually

if TYPE_CHECKING:
    from pathlib import Path

    from drydock.engine.embedded import EmbeddedEngine
    from tests.wal_server import WalServer

LINE = re.compile(
    r"^rmgr: (\S+) +len \(rec/tot\): +\d+/ *(\d+), tx: +(\d+), lsn: (\S+), prev \S+, desc: (\w+)(.*)$", re.MULTILINE
)
NAMES = {
    ("Heap", "INSERT"): records.INSERT,
    ("Heap", "UPDATE"): records.UPDATE,
    ("Heap", "HOT_UPDATE"): records.HOT_UPDATE,
    ("Heap", "DELETE"): records.DELETE,
    ("Heap2", "MULTI_INSERT"): records.MULTI_INSERT,
    ("Transaction", "COMMIT"): records.COMMIT,
    ("Transaction", "PREPARE"): records.PREPARE,
    ("Transaction", "ABORT"): records.ABORT,
    ("Transaction", "COMMIT_PREPARED"): records.COMMIT_PREPARED,
    ("Transaction", "ABORT_PREPARED"): records.ABORT_PREPARED,
    ("Storage", "CREATE"): records.CREATE,
    ("Standby", "LOCK"): records.LOCK,
    ("Standby", "RUNNING_XACTS"): records.RUNNING,
    ("XLOG", "CHECKPOINT_ONLINE"): records.CHECKPOINT,
    ("XLOG", "CHECKPOINT_SHUTDOWN"): records.CHECKPOINT,
    ("XLOG", "SWITCH"): records.SWITCHED,
    ("LogicalMessage", "MESSAGE"): records.SAID,
    ("Tablespace", "CREATE"): records.SPACE_MADE,
    ("Tablespace", "DROP"): records.SPACE_DROPPED,
    ("Database", "DROP"): records.DATABASE_DROPPED,
    ("Heap", "INPLACE"): records.IN_PLACE,
}
# Something of every kind, with images of pages that are whole, have a hole, and are compressed.
STATEMENTS: tuple[str, ...] = (
    "CREATE TABLE t (id int PRIMARY KEY, v text); CREATE INDEX ON t (md5(v))",
    "INSERT INTO t SELECT g, repeat('x', g % 500) FROM generate_series(1, 4000) g",
    "COPY t FROM PROGRAM 'seq 10000 12000 | sed s/$/,x/' WITH (FORMAT csv)",
    "CHECKPOINT",
    "UPDATE t SET v = md5(v) WHERE id % 7 = 0",
    "SET wal_compression = on",
    "CHECKPOINT",
    "UPDATE t SET id = -id WHERE id % 11 = 0; UPDATE t SET v = 'short' WHERE id % 13 = 0",
    "INSERT INTO t SELECT -20000, string_agg(md5(g::text), '') FROM generate_series(1, 90000) g",
    "DELETE FROM t WHERE id % 5 = 0",
    "INSERT INTO t VALUES (3) ON CONFLICT DO NOTHING",
    "SELECT pg_logical_emit_message(true, 'drydock', repeat('long', 2000000))",
    "SELECT pg_switch_wal()",
    "BEGIN; INSERT INTO t VALUES (-1); SAVEPOINT a; INSERT INTO t VALUES (-2); RELEASE a; SAVEPOINT b",
    "INSERT INTO t VALUES (-3); ROLLBACK TO b; CREATE TABLE u (); DROP TABLE u; PREPARE TRANSACTION 'one'",
    "COMMIT PREPARED 'one'",
    "BEGIN; CREATE TABLE v (); SAVEPOINT a; DELETE FROM t WHERE id = -1; PREPARE TRANSACTION 'two'",
    "ROLLBACK PREPARED 'two'",
    "SET allow_in_place_tablespaces = on",
    "CREATE TABLESPACE beside LOCATION ''",
    "DROP TABLESPACE beside",
    "CREATE DATABASE second",
    "DROP DATABASE second",
    "BEGIN; SAVEPOINT a; INSERT INTO t VALUES (-4); RELEASE a; SAVEPOINT b; DROP TABLE t; COMMIT",
    "CHECKPOINT",
)


@pytest.fixture(scope="module")
def folder(server: WalServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Segments with something of every kind."""
    folder = tmp_path_factory.mktemp("segments")
    server.query(*STATEMENTS)
    for stored in server.archive(folder / "archive").segments("1"):
        stored.path.rename(folder / stored.segment.name)
    return folder


def bounds(folder: Path) -> tuple[int, int]:
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    return int(names[0][16:], 16) * SEGMENT_SIZE, (int(names[-1][16:], 16) + 1) * SEGMENT_SIZE


def printed(engine: EmbeddedEngine, folder: Path, start: int) -> list[dict[str, Any]]:
    """What the history needs of pg_waldump's lines."""
    text = b"".join(Reading(engine, folder, 1, start, bounds(folder)[1]).chunks()).decode()
    found = []
    for manager, length, xid, lsn, name, rest in LINE.findall(text):
        kind = NAMES.get((manager, name))
        if kind is None:
            continue
        one: dict[str, Any] = {"kind": kind, "xid": int(xid), "length": int(length), "lsn": parse_lsn(lsn)}
        if kind <= records.ROWS:
            one["file"] = re.search(r"#0: rel (\S+)", rest)[1]  # type: ignore[index]
        if kind == records.MULTI_INSERT:
            one["tuples"] = int(re.search(r"ntuples: (\d+)", rest)[1])  # type: ignore[index]
        if records.COMMIT <= kind <= records.ABORT_PREPARED:
            one["time"] = re.search(r"\d{4}-\d\d-\d\d \S+", rest)[0]  # type: ignore[index]
            one["subxids"] = tuple(map(int, re.findall(r"\d+", (re.findall(r"subxacts: ([\d ]+)", rest) or [""])[0])))
        if records.COMMIT <= kind <= records.ABORT_PREPARED and kind != records.PREPARE:
            one["relations"] = tuple(sorted({int(oid) for oid in re.findall(r"relcache (\d+)", rest)}))
            paths = re.findall(r"base/(\S+?)(?=[;\s]|$)", (re.findall(r"; rels: ([^;]*)", rest) or [""])[0])
            one["dropped"] = tuple(f"1663/{path}" for path in paths)
        found.append(one)
    return found


def read(folder: Path, start: int, last: int | None) -> list[dict[str, Any]]:
    """The same from the pages."""
    found = []
    for stretch in Records(folder, 1, start, bounds(folder)[1], last).stretches():
        for kind, xid, length, place in stretch.records:
            one: dict[str, Any] = {"kind": kind, "xid": xid, "length": length, "lsn": stretch.position(place)}
            assert stretch.place(one["lsn"]) == place
            if kind <= records.ROWS:
                one["file"] = record_bodies.text(record_bodies.block_file(stretch.data, place)).decode()
            if kind == records.MULTI_INSERT:
                one["tuples"] = record_bodies.tuples(stretch.data, record_bodies.body(stretch.data, place))
            if records.COMMIT <= kind <= records.ABORT_PREPARED:
                end = record_bodies.end(kind, stretch.data, place)
                one["time"] = f"{moment_of(end.microseconds):%Y-%m-%d %H:%M:%S.%f}"
                one["subxids"] = end.subxids
                if kind != records.PREPARE:
                    one["relations"], one["dropped"] = end.relations, end.dropped
            found.append(one)
    return found


def test_records_are_what_pg_waldump_prints(engine: EmbeddedEngine, folder: Path) -> None:
    """Kind, transaction, length, position, file, rows and what an end says, from any position on."""
    begin, end = bounds(folder)
    last = last_valid(unreadable(engine, folder, 1, begin, end))
    everything = printed(engine, folder, begin)
    assert {one["kind"] for one in everything} == set(NAMES.values())
    assert read(folder, begin, last) == everything
    for start in (everything[len(everything) // 2]["lsn"], begin + SEGMENT_SIZE, everything[-2]["lsn"] + 8):
        assert read(folder, start, last) == [one for one in everything if one["lsn"] >= start]


def test_the_end_of_the_wal_is_the_servers(server: WalServer, engine: EmbeddedEngine, folder: Path) -> None:
    """It is where the server writes on, and nothing where there is no record."""
    begin, end = bounds(folder)
    found = end_of_wal(engine, folder, 1, begin, end)
    assert found.end <= server.lsn()
    assert found.problem
    assert end_of_wal(engine, folder, 1, found.end, end).start is None


def test_what_is_no_record_is_refused(folder: Path) -> None:
    """Zeros behind the end, which nobody said is the end, and bytes that lead to no next record: an error, no guess."""
    begin, end = bounds(folder)
    with pytest.raises(DrydockError, match="cannot be followed at"):
        list(Records(folder, 1, begin, end).stretches())


def test_a_name_that_holds_lines_forges_nothing(server: WalServer, engine: EmbeddedEngine, tmp_path: Path) -> None:
    """A two-phase transaction may be called anything, such as lines that pg_waldump would print of another one."""
    server.query("CREATE TABLE IF NOT EXISTS named (id int)")
    forged = (
        "x\nrmgr: Transaction len (rec/tot):     34/    34, tx:        999, lsn: 0/0F000028, prev 0/0F000000,"
        " desc: COMMIT 2026-01-01 00:00:00.000000 UTC\ny"
    )
    with server.connect() as connection:
        connection.execute("BEGIN")
        connection.execute("INSERT INTO named VALUES (1)")
        connection.execute(f"PREPARE TRANSACTION '{forged}'".encode())
        connection.execute(f"ROLLBACK PREPARED '{forged}'".encode())
    archive = server.archive(tmp_path)
    assert indexing.refresh(engine, archive, OPEN).problems == []
    with History(archive) as history:
        assert history.commits_of(999) == []
        (found,) = history.index.transactions("state = 1", order="lsn DESC", limit=1)
        assert list(found.rows.values()) == [(1, 0, 0)]


def test_a_record_given_up_after_a_crash_is_left_out(server: WalServer, engine: EmbeddedEngine, tmp_path: Path) -> None:
    """Where a crash cut a record off, the server writes on at the next page, and so does the reading."""
    since, lost = server.next_segment(), server.connect()
    lost.execute("BEGIN")
    lost.execute("SELECT pg_logical_emit_message(true, 'lost', repeat('x', 100000))")
    whole, flushed = server.lsn() // PAGE * PAGE, "SELECT pg_current_wal_flush_lsn()::text"
    # The WAL writer writes whole pages, within 200 ms.
    eventually(lambda: parse_lsn(str(server.query(flushed)[0][0])) >= whole, "whole pages written")
    server.stop("immediate")
    lost.close()
    server.start()
    server.query("CREATE TABLE after ()")
    for stored in server.archive(tmp_path / "archive", since=since).segments("1"):
        stored.path.rename(tmp_path / stored.segment.name)
    begin, end = bounds(tmp_path)
    assert b"desc: OVERWRITE_CONTRECORD" in b"".join(Reading(engine, tmp_path, 1, begin, end).chunks())
    last = last_valid(unreadable(engine, tmp_path, 1, begin, end))
    everything = read(tmp_path, begin, last)
    assert everything == printed(engine, tmp_path, begin)
    assert records.SAID not in {one["kind"] for one in everything}
