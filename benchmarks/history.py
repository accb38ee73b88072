"""Indexing the WAL against pg_waldump alone and against 200 MB per second; questions to a million transactions."""

from __future__ import annotations

import subprocess
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.measure import Limit, Row, interleave, seconds
from drydock.backup.encryption import OPEN
from drydock.engine import wheels
from drydock.engine.processes import clean_environment
from drydock.recovery.history import indexing
from drydock.recovery.history.index import Index, moment_of
from drydock.recovery.history.queries import History
from drydock.recovery.history.row_counts import pack
from drydock.recovery.history.transactions import Assembler, Ended
from drydock.recovery.history.work import Work
from drydock.recovery.wal.positions import SEGMENT_SIZE, Descent, Stretch
from drydock.recovery.wal.waldump import Reach, Reading
from tests.wal_server import WalServer, tools

if TYPE_CHECKING:
    from collections.abc import Callable

    from drydock.engine.embedded import EmbeddedEngine
    from drydock.recovery.archive.folders import Archive
    from drydock.recovery.history.index import Transaction

ROUNDS = 3
SCALE, CLIENTS, SECONDS = 20, 4, 60
SPEED = 200e6  # bytes of WAL per second
QUERY = 0.2  # seconds
MILLION = 1_000_000
FIRST = Descent((Stretch(1, 0, None),))


def measure(rounds: int = ROUNDS) -> list[Row]:
    """Both measurements; the WAL is pgbench's own mix, full page images included."""
    with tempfile.TemporaryDirectory() as folder:
        return [*_indexing(Path(folder), rounds), *_questions(Path(folder), rounds)]


def _indexing(folder: Path, rounds: int) -> list[Row]:
    server, engine = WalServer(folder / "server"), tools(folder)
    server.start()
    try:
        _pgbench(server, "-i", "-q", f"-s{SCALE}")
        server.query("CHECKPOINT")
        _pgbench(server, f"-c{CLIENTS}", f"-T{SECONDS}", "-n")
        server.query("SELECT pg_switch_wal()")
        archive = server.archive(folder / "backups")
    finally:
        server.stop("immediate")
    size = len(archive.segments("1")) * SEGMENT_SIZE
    ours, alone = interleave(rounds, lambda: _index(engine, archive), lambda: _dump(engine, archive, folder / "bare"))
    what = f"index of {size / 1e6:.0f} MB of WAL"
    return [
        Row(what, f"{SPEED / 1e6:.0f} MB/s", ours, [size / SPEED] * rounds, Limit(1)),
        Row(what, "pg_waldump alone, thrown away", ours, alone),
    ]


def _index(engine: EmbeddedEngine, archive: Archive) -> float:
    for path in archive.folder.glob("history.sqlite*"):
        path.unlink()
    return seconds(lambda: indexing.refresh(engine, archive, OPEN))


def _dump(engine: EmbeddedEngine, archive: Archive, folder: Path) -> float:
    segments = [stored.segment for stored in archive.segments("1")]
    folder.mkdir(exist_ok=True)
    for stored in archive.segments("1"):
        link = folder / stored.segment.name
        if not link.exists():
            link.hardlink_to(stored.path)

    def read() -> None:
        reading = Reading(engine, folder, 1, segments[0].start, segments[-1].end)
        for _chunk in reading.chunks():
            pass

    return seconds(read)


def _questions(folder: Path, rounds: int) -> list[Row]:
    index = Index(folder / "million.sqlite")
    run = index.begin(1, 0)
    for begin in range(0, MILLION, 10_000):
        ended = [_made(number) for number in range(begin, begin + 10_000)]
        run = index.add(run, ended, Assembler(), Reach(ended[-1].lsn, ended[-1].end))
    index.close()
    history = History.__new__(History)
    history.index = Index(folder / "million.sqlite")
    middle = moment_of(MILLION // 2 * 1000)
    ((rare,),) = history.index.rows("SELECT max(id) FROM shapes")
    questions: dict[str, Callable[[], object]] = {
        "the newest 20": lambda: _newest(history),
        "the newest of a table changed once": lambda: _newest(history, rare),
        "the first after a time": lambda: history.first_after(FIRST, middle),
        "the last until a time": lambda: history.last_until(FIRST, middle - timedelta(microseconds=1)),
        "one by its number": lambda: history.commits_of(MILLION // 2),
    }
    return [
        Row(f"of a million transactions, {what}", f"{QUERY} s", _timed(ask, rounds), [QUERY] * rounds, Limit(1))
        for what, ask in questions.items()
    ]


def _newest(history: History, shape: int | None = None) -> list[Transaction]:
    return list(history.index.transactions("timeline = 1 AND state = 0", order="lsn DESC", limit=20, shape=shape))


def _timed(ask: Callable[[], object], rounds: int) -> list[float]:
    return [seconds(ask) for _ in range(rounds)]


def _made(number: int) -> Ended:
    table = b"1663/5/20000" if number == MILLION // 3 else b"1663/5/%d" % (16384 + number % 20)
    work = Work(rows={table: pack(number % 7, 1, 0)}, size=200)
    return Ended(
        lsn=number * 100,
        end=number * 100 + 34,
        xid=number + 1000,
        microseconds=number * 1000,
        state="committed",
        work=work,
    )


def _pgbench(server: WalServer, *arguments: str) -> None:
    subprocess.run(
        [
            str(wheels.program("pgbench")),
            "-h",
            "127.0.0.1",
            "-p",
            str(server.port),
            "-U",
            "postgres",
            *arguments,
            "postgres",
        ],
        check=True,
        env=clean_environment({}),
        capture_output=True,
    )
