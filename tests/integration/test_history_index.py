from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyrage
import pytest

from drydock.backup.encryption import OPEN, Sealing
from drydock.backup.packing import pack
from drydock.errors import DrydockError
from drydock.recovery.archive.laying_out import descents
from drydock.recovery.history import indexing
from drydock.recovery.history.index import Index
from drydock.recovery.history.queries import History
from drydock.recovery.wal.positions import Descent, Stretch, format_lsn
from drydock.recovery.wal.waldump import Reading, record_end
from tests.wal_server import WalServer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from drydock.engine.embedded import EmbeddedEngine
    from drydock.recovery.archive.folders import Archive
    from drydock.recovery.history.index import Transaction

FIRST = Descent((Stretch(1, 0, None),))


@pytest.fixture(scope="module")
def server(server: WalServer) -> WalServer:
    """With a table `t`, that tests write to."""
    server.query("CREATE TABLE t (id int PRIMARY KEY, v text)", "CREATE TABLE u (id int)")
    return server


def read(engine: EmbeddedEngine, archive: Archive) -> History:
    assert indexing.refresh(engine, archive, OPEN).problems == []
    return History(archive)


def node(server: WalServer, table: str) -> str:
    return f"1663/5/{server.query(f'SELECT pg_relation_filenode({table!r}::regclass)')[0][0]}"


def only(history: History, xid: int) -> Transaction:
    (found,) = history.commits_of(xid)
    return found


def everything(path: Archive) -> list[Any]:
    index = Index(path.history)
    found = list(index.transactions("1"))
    index.close()
    return found


# What a transaction does, and the rows that must be counted for table t.
SCRIPTS = {
    "insert": (["INSERT INTO t SELECT g, 'x' FROM generate_series(1, 5) g"], (5, 0, 0)),
    "copy": (["COPY t FROM PROGRAM 'seq 100 350 | sed s/$/,x/' WITH (FORMAT csv)"], (251, 0, 0)),
    "update": (["UPDATE t SET v = 'y' WHERE id <= 3"], (0, 3, 0)),
    "moved": (["UPDATE t SET id = -id WHERE id = 4"], (0, 1, 0)),
    "delete": (["DELETE FROM t WHERE id IN (1, 2)"], (0, 0, 2)),
    "released": (["SAVEPOINT s", "INSERT INTO t VALUES (1000, 'a')", "RELEASE s"], (1, 0, 0)),
    "rolled back to": (
        ["INSERT INTO t VALUES (1001, 'a')", "SAVEPOINT s", "INSERT INTO t VALUES (1002, 'a')", "ROLLBACK TO s"],
        (1, 0, 0),
    ),
    "nested": (
        [
            "SAVEPOINT a",
            "INSERT INTO t VALUES (1003)",
            "SAVEPOINT b",
            "UPDATE t SET v = 'z' WHERE id = 3",
            "RELEASE b",
            "RELEASE a",
            "DELETE FROM t WHERE id = 5",
        ],
        (1, 1, 1),
    ),
    "on conflict": (
        ["INSERT INTO t VALUES (3, 'c'), (2000, 'c') ON CONFLICT (id) DO UPDATE SET v = excluded.v"],
        (1, 1, 0),
    ),
    "locks alone": (["INSERT INTO t VALUES (3000)", "SELECT * FROM t FOR UPDATE"], (1, 0, 0)),
    "wide value": (
        ["INSERT INTO t SELECT 4000, string_agg(md5(g::text), '') FROM generate_series(1, 2000) g"],
        (1, 0, 0),
    ),
}


def test_rows_are_counted_per_transaction(server: WalServer, engine: EmbeddedEngine, tmp_path: Path) -> None:
    """Inserts, COPY, updates, deletes and committed savepoints are counted; what was rolled back is not."""
    table, done = node(server, "t"), {}
    with server.connect() as connection:
        for name, (statements, _) in SCRIPTS.items():
            with connection.transaction():
                for statement in statements:
                    connection.execute(statement.encode())
                done[name] = server.xid(connection)
    with read(engine, server.archive(tmp_path)) as history:
        counted = {name: only(history, xid).rows.get(table) for name, xid in done.items()}
        assert counted == {name: rows for name, (_, rows) in SCRIPTS.items()}
        assert all(only(history, xid).committed and not only(history, xid).ddl for xid in done.values())


def test_ends_of_every_kind_are_told_apart(server: WalServer, engine: EmbeddedEngine, tmp_path: Path) -> None:
    """Aborted, prepared, and prepared transactions committed or rolled back later, with their rows."""
    table = node(server, "u")
    xids = {}
    with server.connect() as connection:
        for name, end in {
            "aborted": "ROLLBACK",
            "waiting": "PREPARE TRANSACTION 'a: 2026-01-01 00:00:00.000000 UTC'",
            "later": "PREPARE TRANSACTION 'b'",
            "never": "PREPARE TRANSACTION 'c'",
        }.items():
            connection.execute("BEGIN")
            connection.execute("INSERT INTO u VALUES (1), (2)")
            xids[name] = server.xid(connection)
            connection.execute(end.encode())
        connection.execute("COMMIT PREPARED 'b'")
        connection.execute("ROLLBACK PREPARED 'c'")
    with read(engine, server.archive(tmp_path)) as history:
        states = {name: [one.state for one in history.commits_of(xid)] for name, xid in xids.items()}
        assert states == {"aborted": ["aborted"], "waiting": [], "later": ["committed"], "never": ["aborted"]}
        found = list(history.index.transactions("xid = ?", (xids["later"],)))
        assert [(one.state, one.rows) for one in found] == [
            ("prepared", {table: (2, 0, 0)}),
            ("committed", {table: (2, 0, 0)}),
        ]
    server.query("ROLLBACK PREPARED 'a: 2026-01-01 00:00:00.000000 UTC'")


def test_a_part_of_a_transaction_stands_for_the_whole(
    server: WalServer, engine: EmbeddedEngine, tmp_path: Path
) -> None:
    """A committed subtransaction is found under its own number, with its parent's; a rolled back one by itself."""
    with server.connect() as connection, connection.transaction():
        parent = server.xid(connection)
        connection.execute("SAVEPOINT a")
        connection.execute("INSERT INTO u VALUES (1)")
        kept = int(connection.execute("SELECT max(xmin::text::bigint) FROM u").fetchone()[0])  # type: ignore[index]
        connection.execute("RELEASE a")
        connection.execute("SAVEPOINT b")
        connection.execute("INSERT INTO u VALUES (1)")
        connection.execute("ROLLBACK TO b")
    assert kept > parent
    with read(engine, server.archive(tmp_path)) as history:
        assert only(history, kept).xid == parent
        assert (only(history, kept + 1).xid, only(history, kept + 1).state) == (kept + 1, "aborted")


def test_what_a_transaction_says_of_itself_is_kept(server: WalServer, engine: EmbeddedEngine, tmp_path: Path) -> None:
    """A logical message with our prefix names a transaction; another's does not, nor lines that it holds."""
    with server.connect() as connection, connection.transaction():
        connection.execute("SELECT pg_logical_emit_message(true, 'other', 'not ours')")
        connection.execute("SELECT pg_logical_emit_message(true, 'drydock', 'the cleaner ☃')")
        xid = server.xid(connection)
    with read(engine, server.archive(tmp_path)) as history:
        assert only(history, xid).who == "the cleaner ☃"


@pytest.mark.parametrize(
    ("statement", "ddl"),
    [
        ("CREATE TABLE made (id int)", True),
        ("ALTER TABLE u ADD COLUMN more int", True),
        ("TRUNCATE u", True),
        ("CREATE FUNCTION one() RETURNS int LANGUAGE sql AS 'SELECT 1'", True),
        ("GRANT SELECT ON u TO pg_monitor", True),
        ("ANALYZE t", False),
        ("SELECT lo_from_bytea(0, 'x')", False),
        ("INSERT INTO u VALUES (1)", False),
    ],
)
def test_changes_of_the_schema_are_marked(
    server: WalServer, engine: EmbeddedEngine, tmp_path: Path, statement: str, ddl: object
) -> None:
    """DDL of every kind is marked; ANALYZE and large objects, which write catalogues too, are not."""
    with server.connect() as connection, connection.transaction():
        connection.execute(statement.encode())
        xid = server.xid(connection)
    with read(engine, server.archive(tmp_path)) as history:
        assert only(history, xid).ddl is ddl


@pytest.mark.parametrize("strategy", ["wal_log", "file_copy"])
def test_databases_as_a_whole_are_no_change_of_the_schema(
    server: WalServer, engine: EmbeddedEngine, tmp_path: Path, strategy: str
) -> None:
    """Made, with rights, a comment and a setting, closed, renamed and dropped, as a reset does: no history tells it."""
    begin = server.lsn()
    server.query(
        f"CREATE DATABASE made STRATEGY {strategy}",
        "REVOKE ALL ON DATABASE made FROM PUBLIC",
        "GRANT CONNECT ON DATABASE made TO pg_monitor",
        "COMMENT ON DATABASE made IS 'a copy'",
        "ALTER DATABASE made SET work_mem = '5MB'",
        "ALTER DATABASE made ALLOW_CONNECTIONS false",
        "ALTER DATABASE made RENAME TO kept",
        "DROP DATABASE kept",
    )
    end = server.lsn()
    server.query("CREATE TABLE later (id int)", "DROP TABLE later")
    with read(engine, server.archive(tmp_path)) as history:
        assert (history.between(FIRST, begin, end).transactions, history.between(FIRST, end, 1 << 60).ddl) == (0, 2)


def test_what_is_prepared_after_a_moment_comes_after_it(
    server: WalServer, engine: EmbeddedEngine, tmp_path: Path
) -> None:
    """A server would go on to the next commit or rollback, and keep it; before its own time it is not there either."""
    with server.connect() as connection:
        with connection.transaction():
            connection.execute("INSERT INTO u VALUES (21)")
            earlier = server.xid(connection)
        moment = server.query("SELECT clock_timestamp()")[0][0]
    server.query("BEGIN", "INSERT INTO u VALUES (22)", "PREPARE TRANSACTION 'afterwards'")
    between = server.query("SELECT clock_timestamp()")[0][0]
    server.query("ROLLBACK PREPARED 'afterwards'")
    with read(engine, server.archive(tmp_path)) as history:
        first, then = (history.first_after(FIRST, one) for one in (moment, between))
        assert first is not None
        assert then is not None
        assert (first.state, then.state, first.xid == then.xid) == ("prepared", "aborted", True)
        before = history.first_after(FIRST, moment - timedelta(days=1))
        assert before is not None
        assert before.lsn < first.lsn
        assert only(history, earlier).lsn < first.lsn


def test_times_and_positions_are_the_servers(server: WalServer, engine: EmbeddedEngine, tmp_path: Path) -> None:
    """The moment of a commit is the server's own to the microsecond, and the record lies where the server wrote it."""
    with server.connect() as connection:
        with connection.transaction():
            connection.execute("INSERT INTO u VALUES (9)")
            xid = server.xid(connection)
            before = server.lsn()
        after = server.lsn()
    moment = server.query(f"SELECT pg_xact_commit_timestamp('{xid}'::xid)")[0][0]
    with read(engine, server.archive(tmp_path)) as history:
        found = only(history, xid)
        assert found.moment == moment
        assert before <= found.lsn < found.end <= after
        first = history.first_after(FIRST, moment - timedelta(microseconds=1))
        assert first is not None
        assert first.xid == xid
        last = history.last_until(FIRST, moment)
        assert last is not None
        assert last.xid == xid
        assert history.first_after(FIRST, datetime(2100, 1, 1, tzinfo=UTC)) is None
        assert history.last_until(FIRST, datetime(2000, 1, 1, tzinfo=UTC)) is None


def test_an_index_that_proves_damaged_is_made_anew(server: WalServer, engine: EmbeddedEngine, tmp_path: Path) -> None:
    """Damage behind its head shows with the question: a sentence, and the next one is answered."""
    archive = server.archive(tmp_path)
    with read(engine, archive) as history:
        expected = len(list(history.index.transactions("1")))
    content = bytearray(archive.history.read_bytes())
    content[8192:] = b"\xff" * (len(content) - 8192)
    archive.history.write_bytes(content)
    with pytest.raises(DrydockError, match="is damaged, and was removed"), History(archive) as history:
        list(history.index.transactions("1"))
    with read(engine, archive) as history:
        assert len(list(history.index.transactions("1"))) == expected


def test_a_summary_adds_up_what_was_committed(server: WalServer, engine: EmbeddedEngine, tmp_path: Path) -> None:
    """Between two positions: transactions, rows by table and changes of the schema, without what changed nothing."""
    server.query("CREATE TABLE sums (id int)")
    begin = server.lsn()
    server.query("INSERT INTO sums SELECT generate_series(1, 7)")
    server.query("BEGIN", "INSERT INTO sums VALUES (8)", "ROLLBACK")
    server.query("ANALYZE sums")
    server.query("UPDATE sums SET id = 0 WHERE id < 4")
    end = server.lsn()
    server.query("DELETE FROM sums")
    with read(engine, server.archive(tmp_path)) as history:
        summary = history.between(FIRST, begin, end)
        assert (summary.transactions, summary.ddl) == (2, 0)
        assert list(summary.tables.values()) == [(7, 3, 0)]
        assert history.covered(FIRST, begin, end)
        assert not history.covered(FIRST, begin, end + (1 << 30))


def test_indexing_in_steps_gives_what_indexing_at_once_gives(
    server: WalServer, engine: EmbeddedEngine, tmp_path: Path
) -> None:
    """Transactions that span segments and runs are whole, however often the growing archive is indexed."""
    steps, since = tmp_path / "steps", server.next_segment()
    with server.connect() as long:
        long.execute("BEGIN")
        long.execute("INSERT INTO u VALUES (0)")
        xid = server.xid(long)
        for _ in range(4):
            long.execute("INSERT INTO u SELECT generate_series(1, 100)")
            # Its commit writes what the other one did to the WAL's file; else that would take the server 15 s.
            server.query(
                "INSERT INTO t SELECT (random() * 2e9)::int, 'x' FROM generate_series(1, 50) ON CONFLICT DO NOTHING"
            )
            with read(engine, server.archive(steps, since=since)):
                pass
            server.query("SELECT pg_switch_wal()")
        long.execute("COMMIT")
    with read(engine, server.archive(steps, since=since)) as history:
        assert only(history, xid).rows[node(server, "u")] == (401, 0, 0)
    once = server.archive(tmp_path / "once", since=since)
    with read(engine, once):
        assert everything(once) == everything(server.archive(steps, since=since))


def test_a_tablespace_is_known_by_its_folder(server: WalServer, engine: EmbeddedEngine, tmp_path: Path) -> None:
    """Where it is made, however often the growing archive is indexed; one within the data directory is none."""
    folder = server.data.parent / "fast ö"
    begin = server.lsn()
    server.query(
        "SET allow_in_place_tablespaces = on", "CREATE TABLESPACE inside LOCATION ''", "DROP TABLESPACE inside"
    )
    with read(engine, server.archive(tmp_path)) as history:
        assert history.tablespace(FIRST, begin, server.lsn()) is None
    before = server.lsn()
    making = f"COPY (SELECT 1) TO PROGRAM $$cat > /dev/null; mkdir -m 700 '{folder}'$$"
    server.query(making, f"CREATE TABLESPACE fast LOCATION '{folder}'")
    made = server.lsn()
    server.query("DROP TABLESPACE fast")
    for _ in range(2):
        with read(engine, server.archive(tmp_path)) as history:
            found = history.tablespace(FIRST, begin, server.lsn())
            assert found is not None
            assert (found[0], found[2]) == (1, str(folder))
            assert before <= found[1] < made
            assert history.tablespace(FIRST, found[1] + 1, server.lsn()) is None
            assert history.tablespace(FIRST, begin, found[1]) is None
        server.query("INSERT INTO u VALUES (0)")


def test_sealed_segments_are_read_like_plain_ones(server: WalServer, engine: EmbeddedEngine, tmp_path: Path) -> None:
    """Packed segments give the same index."""
    plain = server.archive(tmp_path / "plain")
    sealed = server.archive(tmp_path / "sealed")
    seal(sealed)
    with read(engine, plain), read(engine, sealed):
        assert everything(sealed) == everything(plain)


def seal(archive: Archive, keys: Sealing = OPEN) -> list[Path]:
    """Pack all whole segments; their files."""
    for stored in archive.segments("1"):
        if not stored.path.name.endswith(".partial"):
            with stored.path.open("rb") as stream:
                pack(stream, stored.path.with_name(keys.name(f"{stored.path.name}.zst")), keys)
            stored.path.unlink()
    return sorted((archive.folder / "1").glob("*.zst*"))


def keys(path: Path) -> Sealing:
    """A pair of keys, the private one in a file."""
    identity = pyrage.x25519.Identity.generate()
    path.write_text(str(identity))
    path.chmod(0o600)
    return Sealing((str(identity.to_public()),), path)


def spoil(path: Path) -> None:
    """Other bytes in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 8] = b"\xff" * 8
    path.write_bytes(content)


def cut(path: Path) -> None:
    """The end is missing, as where a disk was full: zstd says nothing of it."""
    path.write_bytes(path.read_bytes()[:-1000])


@pytest.mark.parametrize(
    ("number", "form", "damage"),
    [
        (0, "packed", spoil),
        (2, "packed", spoil),
        (4, "packed", spoil),
        (2, "packed", cut),
        (2, "encrypted", spoil),
        (2, "plain", cut),
    ],
)
def test_a_damaged_segment_is_indexed_around(
    server: WalServer, engine: EmbeddedEngine, tmp_path: Path, number: int, form: str, damage: Callable[[Path], None]
) -> None:
    """The sound ones before it and behind it are read; the gap is told, with the file, and by every later run."""
    sealing = keys(tmp_path / "key.age") if form == "encrypted" else OPEN
    archive, ids = five(server, tmp_path)
    damaged = archive.segments("1")[number].path if form == "plain" else seal(archive, sealing)[number]
    damage(damaged)
    where = next(stored.segment for stored in archive.segments("1") if stored.path == damaged)
    told = f"cannot be read from {format_lsn(where.start)}" if not number else f" to {format_lsn(where.end)}: "
    (problem,) = indexing.refresh(engine, archive, sealing).problems
    assert f"{damaged} is damaged: " in problem
    assert told in problem
    assert len(indexing.refresh(engine, archive, sealing).problems) == 1
    with History(archive) as history:
        assert [bool(history.commits_of(xid)) for xid in ids] == [at != number for at in range(len(ids))]
        assert not history.covered(FIRST, where.start, where.end)
        behind = only(history, ids[number + 1])
        assert history.covered(FIRST, behind.lsn, behind.end)


def five(server: WalServer, folder: Path) -> tuple[Archive, list[int]]:
    """An archive of five whole segments and the newest, with a transaction in each; their numbers."""
    since, ids = server.next_segment(), []
    for number in range(6):
        with server.connect() as connection, connection.transaction():
            connection.execute("INSERT INTO u VALUES (1)")
            ids.append(server.xid(connection))
        if number < 5:
            server.query("SELECT pg_switch_wal()")
    return server.archive(folder, since=since), ids


def test_damage_in_many_places_hides_nothing_between(
    server: WalServer, engine: EmbeddedEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two damaged files, met ahead of the reading too, and one that was indexed before: what was read of it stays."""
    monkeypatch.setattr(indexing, "BATCH", 2)
    archive, ids = five(server, tmp_path)
    files = seal(archive)
    spoil(files[1])
    spoil(files[3])
    assert len(indexing.refresh(engine, archive, OPEN).problems) == 2
    spoil(files[2])
    assert len(indexing.refresh(engine, archive, OPEN).problems) == 2
    with History(archive) as history:
        found = [bool(history.commits_of(xid)) for xid in ids]
    assert found == [True, False, True, False, True, True]


def test_a_missing_key_is_no_damage(server: WalServer, engine: EmbeddedEngine, tmp_path: Path) -> None:
    """Nothing is indexed around what only waits for its key, however often that is tried."""
    archive, _ = five(server, tmp_path)
    sealing = keys(tmp_path / "key.age")
    seal(archive, sealing)
    for _ in range(2):
        with pytest.raises(DrydockError, match="is encrypted, and no identity is set"):
            indexing.refresh(engine, archive, OPEN)
    assert indexing.refresh(engine, archive, sealing).problems == []


def test_a_damaged_index_is_made_anew(server: WalServer, engine: EmbeddedEngine, tmp_path: Path) -> None:
    """Garbage in the place of the index is replaced, and nothing is missing afterwards."""
    archive = server.archive(tmp_path)
    with read(engine, archive):
        before = everything(archive)
    archive.history.write_bytes(b"garbage" * 1000)
    with read(engine, archive):
        assert everything(archive) == before


def test_a_missing_segment_leaves_a_gap_that_is_told(server: WalServer, engine: EmbeddedEngine, tmp_path: Path) -> None:
    """Behind a hole indexing goes on; no stretch over it is called covered, and what began before it is not whole."""
    with server.connect() as connection:
        connection.execute("BEGIN")
        connection.execute("INSERT INTO u VALUES (1)")
        xid = server.xid(connection)
        begin = server.lsn()
        server.query("SELECT pg_switch_wal()", "INSERT INTO u VALUES (1)")
        hole = server.query("SELECT pg_walfile_name(pg_current_wal_insert_lsn())")[0][0]
        server.query("SELECT pg_switch_wal()", "INSERT INTO u VALUES (1)", "CHECKPOINT")
        connection.execute("INSERT INTO u VALUES (1)")
        connection.execute("COMMIT")
    end = server.lsn()
    archive = server.archive(tmp_path)
    (archive.folder / "1" / hole).unlink()
    with read(engine, archive) as history:
        assert not history.covered(FIRST, begin, end)
        found = only(history, xid)
        assert not found.whole
        assert found.rows[node(server, "u")] == (1, 0, 0)


def test_the_last_record_is_found_whatever_its_kind(server: WalServer, engine: EmbeddedEngine, tmp_path: Path) -> None:
    """Its end is the server's own position, be it of an index, a sequence or a restore point."""
    for statement in ("SELECT pg_create_restore_point('here')", "CREATE SEQUENCE s", "SELECT nextval('s')"):
        server.query(statement)
        archive = server.archive(tmp_path)
        position = server.lsn()
        with read(engine, archive) as history:
            last = history.last_record(FIRST)
        assert last is not None
        assert last[1] == position, statement


def test_ends_of_records_are_computed_as_the_server_has_them(
    server: WalServer, engine: EmbeddedEngine, tmp_path: Path
) -> None:
    """Every record ends where the next one begins, page headers apart: as pg_waldump lists them."""
    server.query(
        "INSERT INTO t SELECT (random() * 2e9)::int, repeat(md5(g::text), 60) FROM generate_series(1, 900) g"
        " ON CONFLICT DO NOTHING"
    )
    archive, folder = server.archive(tmp_path), tmp_path / "work"
    folder.mkdir()
    segment = next(stored for stored in reversed(archive.segments("1")))
    (folder / segment.segment.name).write_bytes(segment.path.read_bytes())
    reading = Reading(engine, folder, 1, segment.segment.start, segment.segment.end)
    lines = [line for chunk in reading.chunks() for line in chunk.decode().splitlines() if line.startswith("rmgr")]
    assert len(lines) > 500
    expected = None
    for line in lines:
        start = sum(
            int(half, 16) << 32 * n for n, half in enumerate(reversed(line.split("lsn: ")[1].split(",")[0].split("/")))
        )
        assert expected is None or start - expected in ({0} if expected % 8192 else {24, 40}), line
        expected = record_end(start, int(line.split("/")[2].split(",")[0]))


def test_a_crash_ends_what_was_going_on(embedded_engine: str, engine: EmbeddedEngine, tmp_path: Path) -> None:
    """A transaction that a crash cut off is no longer carried along, and never appears."""
    assert embedded_engine
    server = WalServer(tmp_path / "server")
    server.start()
    server.query("CREATE TABLE u (id int)")
    lost = server.connect()
    lost.execute("BEGIN")
    lost.execute("INSERT INTO u VALUES (1)")
    xid = server.xid(lost)
    server.query("INSERT INTO u VALUES (2)")
    server.stop("immediate")
    lost.close()
    server.start()
    server.query("INSERT INTO u VALUES (3)", "CHECKPOINT")
    with read(engine, server.archive(tmp_path)) as history:
        assert history.commits_of(xid) == []
        (run,) = history.index.runs()
        assert f'"{xid}"' not in run.carry
    server.stop()


def test_one_number_on_two_timelines_is_two_transactions(
    embedded_engine: str, engine: EmbeddedEngine, tmp_path: Path
) -> None:
    """After a fork both timelines have their own transactions; what was prepared before it may end on either."""
    assert embedded_engine
    server = WalServer(tmp_path / "server")
    server.start()
    server.query("CREATE TABLE u (id int)")
    server.query("BEGIN", "INSERT INTO u VALUES (1), (2), (3)", "PREPARE TRANSACTION 'both'")
    prepared = int(server.query("SELECT transaction::text FROM pg_prepared_xacts")[0][0])
    table, forked = node(server, "u"), server.lsn()
    server.stop()
    other = server.fork(tmp_path / "other")
    server.start()
    server.query("INSERT INTO u VALUES (1)")
    server.query("COMMIT PREPARED 'both'")
    archive = server.archive(tmp_path)
    server.stop()
    other.start()
    other.query("INSERT INTO u VALUES (1), (2)")
    other.query("ROLLBACK PREPARED 'both'")
    other.archive(tmp_path, "2")
    with read(engine, archive) as history:
        descent = descents(archive, OPEN)[2]
        twice = history.commits_of(prepared + 1)
        assert [(one.timeline, one.rows[table]) for one in twice] == [(1, (1, 0, 0)), (2, (2, 0, 0))]
        both = history.commits_of(prepared)
        assert [(one.timeline, one.state, one.rows) for one in both] == [
            (1, "committed", {table: (3, 0, 0)}),
            (2, "aborted", {table: (3, 0, 0)}),
        ]
        first = history.first_after(descent, datetime(2000, 1, 1, tzinfo=UTC))
        assert first is not None
        assert first.timeline == 1
        assert history.between(descent, forked, 1 << 40).transactions == 1
        assert history.between(FIRST, forked, 1 << 40).transactions == 2
    other.stop()
