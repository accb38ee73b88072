"""Positions in real WAL lead to the record that comes next, wherever in a segment they are."""

from __future__ import annotations

import random
import re
import shutil
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from drydock.backup.encryption import OPEN
from drydock.errors import DamagedError, RefusedError
from drydock.recovery.archive.chain import Chain
from drydock.recovery.archive.folders import Archive
from drydock.recovery.history import indexing
from drydock.recovery.plans import planning, resolve
from drydock.recovery.plans.moments import Clock
from drydock.recovery.plans.planning import Files, Read
from drydock.recovery.plans.situation import Situation
from drydock.recovery.plans.targets import AtLsn
from drydock.recovery.wal.positions import NAME, SEGMENT_SIZE, Descent, Stretch, parse_lsn
from drydock.recovery.wal.waldump import Reading
from tests.wal_server import SYSTEM, WalServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from drydock.engine.embedded import EmbeddedEngine

FIRST = Descent((Stretch(1, 0, None),))


@pytest.fixture(scope="module")
def archive(embedded_engine: str, tmp_path_factory: pytest.TempPathFactory) -> Archive:
    """Four segments: two that were left early, one that a record ran out of, and the newest one."""
    assert embedded_engine
    server = WalServer(tmp_path_factory.mktemp("wal") / "server")
    server.start()
    server.query("CREATE TABLE t (id int, text text)", "SELECT pg_switch_wal()")
    server.query("INSERT INTO t VALUES (1)", "SELECT pg_switch_wal()")
    server.query("INSERT INTO t SELECT g, repeat(md5(g::text), 200) FROM generate_series(1, 3000) AS g")
    server.query("SELECT pg_create_restore_point('the last')")
    found = server.archive(tmp_path_factory.mktemp("archive"))
    server.stop("immediate")
    return found


@pytest.fixture
def positions(archive: Archive, engine: EmbeddedEngine) -> Iterator[Read]:
    indexing.refresh(engine, archive, OPEN)
    with Read(archive, engine, Chain(planning._copies(archive), {}, Files(OPEN)), OPEN) as found:
        yield found


@pytest.fixture(scope="module")
def records(archive: Archive, engine: EmbeddedEngine, tmp_path_factory: pytest.TempPathFactory) -> list[int]:
    """Where each record begins, as pg_waldump lists them."""
    folder = tmp_path_factory.mktemp("all")
    names = sorted(path.name for path in (archive.folder / "1").iterdir() if NAME.match(path.name[:24]))
    for name in names:
        (folder / name[:24]).write_bytes((archive.folder / "1" / name).read_bytes())
    start = int(names[0][16:24], 16) * SEGMENT_SIZE
    lines = b"".join(Reading(engine, folder, 1, start, start + len(names) * SEGMENT_SIZE).chunks())
    return [parse_lsn(found.decode()) for found in re.findall(rb"lsn: ([0-9A-F/]+), prev", lines)]


def situation(positions: Read) -> Situation:
    return Situation(
        chain=positions.chain, bases=[], positions=positions, marks=[], lives=[], clock=Clock(datetime.now(UTC))
    )


def next_after(records: list[int], lsn: int) -> int | None:
    return next((record for record in records if record >= lsn), None)


def test_a_position_leads_to_the_next_record(records: list[int], positions: Read) -> None:
    """At records, between them, at the seams of pages and segments, and in the empty rest of a segment left early."""
    chance = random.Random(1)  # noqa: S311 - a test that can be repeated
    first, last = records[0], records[-1]
    seams = [lsn for n in range(first // SEGMENT_SIZE, last // SEGMENT_SIZE) for lsn in around((n + 1) * SEGMENT_SIZE)]
    wanted = [*chance.sample(records, 10), *(chance.randrange(first, last) for _ in range(40)), *seams]
    for lsn in wanted:
        found = positions.record_from(FIRST, lsn)
        assert (found and found[0]) == next_after(records, lsn), hex(lsn)


def around(seam: int) -> list[int]:
    return [seam - SEGMENT_SIZE // 2, seam - 8192, seam - 8, seam, seam + 8, seam + 40]


def test_the_empty_rest_of_a_segment_is_before_the_next_one(records: list[int], positions: Read) -> None:
    """It was once taken for the end of all WAL: a restore to a position there brought everything back."""
    rest = (records[0] // SEGMENT_SIZE + 1) * SEGMENT_SIZE - 100_000
    found = resolve.resolve(AtLsn(rest, 1), situation(positions))
    assert (found.stop.lsn, found.stop.inclusive) == (next_after(records, rest), False)


def test_a_damaged_segment_keeps_nobody_from_positions_before_it(
    archive: Archive, engine: EmbeddedEngine, records: list[int], tmp_path: Path
) -> None:
    """The record after a position may go on in the next segment; where that is damaged, it is looked for without it."""
    shutil.copytree(archive.folder, tmp_path / "wal" / SYSTEM)
    copy = Archive(cast("Any", SimpleNamespace(backups=tmp_path)), SYSTEM)
    first, second = (stored for stored in copy.segments("1")[:2])
    second.path.write_bytes(second.path.read_bytes()[:100_000])
    indexing.refresh(engine, copy, OPEN)
    with Read(copy, engine, Chain(planning._copies(copy), {}, Files(OPEN)), OPEN) as positions:
        found = positions.record_from(FIRST, records[1])
        assert found is not None
        assert found[0] == records[1] < first.segment.end
        with pytest.raises(DamagedError, match=f"{second.path.name} is damaged: it holds 100000 bytes") as caught:
            positions.record_from(FIRST, second.segment.start)
    assert caught.value.hint == "invoke archive.verify"


def test_a_position_before_the_last_record_is_never_the_end_of_all(archive: Archive, positions: Read) -> None:
    """Where nothing can be read from there on, it is refused: the WAL of that place is not in the archive."""
    earlier = positions.chain.timelines()
    assert earlier == [1]
    missing = min(path.name for path in (archive.folder / "1").iterdir() if NAME.match(path.name[:24]))
    lsn = (int(missing[16:24], 16) - 1) * SEGMENT_SIZE + 5_000_000
    with pytest.raises(RefusedError, match="is not in the archive"):
        resolve.resolve(AtLsn(lsn, 1), situation(positions))
