"""The swap: another incarnation takes the environment's place, and the way back is the same switch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drydock.recovery.archive import archiver, progress
from drydock.recovery.archive.folders import Archive
from drydock.recovery.restores import rewind, swap
from drydock.recovery.wal.positions import parse_lsn
from tests import ledger, timeline

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.checkout import Checkout


def quiet(_line: str) -> None:
    """Nobody listens."""


def test_the_new_incarnation_is_archived_from_its_first_record_on(
    engine_name: str, make_checkout: Callable[..., Checkout], tmp_path: Path
) -> None:
    """Rows are those of then, Redis is empty, its part of the archive begins with its timeline; and back, and forth."""
    checkout = make_checkout(ENGINE=engine_name, WAL_ARCHIVE="on")
    checkout.run("up")
    checkout.redis("SET", "stale", "yes")
    book = ledger.write(checkout.environment, tmp_path / "book", 5)
    environment = checkout.environment
    beside = environment.engine.beside
    paused = rewind.rewind(beside, beside.volume("2"), book.recipe(3, inclusive=True), quiet)
    swap.adopt(environment, paused, 2, 1, quiet)
    assert checkout.query("SELECT count(*) FROM ledger") == [(3,)]
    assert checkout.redis("DBSIZE") == "0"
    assert timeline.complaints(checkout) == []
    assert "nothing to do" in checkout.run("up").stdout
    archive = Archive(environment.settings, environment.state.system_identifier)
    part = archive.parts()[-1]
    assert (part.name, part.timeline, part.parent, part.hole) == ("2", 2, 1, False)
    checkout.query("INSERT INTO ledger VALUES (99)")
    (now,) = checkout.query("SELECT pg_current_wal_lsn()::text")[0]
    progress.wait_for(environment, parse_lsn(now))
    segments = archive.segments("2")
    assert segments[0].segment.timeline == 2
    assert segments[0].segment.start <= paused.replayed < segments[0].segment.end
    history = archive.folder / "2" / "00000002.history"
    ((there,),) = checkout.query("SELECT pg_read_file('pg_wal/00000002.history')")
    assert history.read_text() == there

    swap.switch(environment, 1, "1", quiet)
    assert checkout.query("SELECT count(*) FROM ledger") == [(5,)]
    assert [found.name for found in archive.parts()] == ["1", "2"]
    swap.switch(environment, 2, "2", quiet)
    assert checkout.query("SELECT max(number) FROM ledger") == [(99,)]
    assert [found.reason for found in archive.parts()] == ["first start", "restored"]
    archiver.ensure(environment, quiet)
    assert [found.reason for found in archive.parts()] == ["first start", "restored"]
    assert timeline.complaints(checkout) == []
