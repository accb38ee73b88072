"""Restoring a backup against the best call of pg_restore by hand, and proving one against restoring it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from benchmarks.amount import describe, settle, stocked
from benchmarks.by_hand import best, dump
from benchmarks.measure import Limit, Row, interleave, seconds
from drydock import postgres, template
from drydock.backup import dump as backups
from drydock.backup import restore, verify

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from benchmarks.by_hand import Restore
    from drydock.backup.catalogue import Entry
    from tests.checkout import Checkout

ROUNDS = 3
BESIDE = "beside"
OURS, PROOF = "`restore.restore(into=…)`", "`verify.verify`"


def measure(rounds: int = ROUNDS, amount: str = "1GB") -> list[Row]:
    """A restore and a verification by the functions that the tasks call, and the best of several calls by hand."""
    with stocked(amount) as dock:
        entry = backups.make(dock.environment, backups.Request(), now=datetime.now(UTC), progress=_quiet)
        folder = dock.root / "by-hand"
        folder.mkdir()
        dump(dock.environment, "pg_dump -Fd -j2 -Z0", folder)
        found = best(lambda way, patience: _by_hand(dock, way, folder, patience))
        quickest = next(iter(found))
        compared: list[float] = []
        ours, theirs, proofs = interleave(
            rounds,
            lambda: _ours(dock, entry, compared),
            lambda: _by_hand(dock, quickest, folder),
            lambda: _proof(dock, entry),
        )
        what = describe(dock)
    return [
        Row(f"{OURS}, {what}", f"{quickest}: the best", ours, theirs, Limit(1.2)),
        Row(f"{PROOF}, {what}", OURS, proofs, ours, Limit(1)),
        Row(f"{PROOF}, {what}", f"{quickest}: the best", proofs, theirs),
        Row(f"{OURS}: comparing alone", OURS, compared, ours),
        *(Row(str(way), "the best of these", [took], [found[quickest]]) for way, took in found.items()),
    ]


def _ours(dock: Checkout, entry: Entry, compared: list[float]) -> float:
    dealings = restore.Dealings(_refuse, lambda _line: None, _quiet)
    done: list[restore.Restored] = []
    took = _alone(dock, lambda: done.append(restore.restore(dock.environment, entry, dealings, into=BESIDE)))
    compared.append(done[0].seconds["compare"])
    return took


def _proof(dock: Checkout, entry: Entry) -> float:
    return _alone(dock, lambda: verify.verify(dock.environment, entry, now=datetime.now(UTC), progress=_quiet))


def _by_hand(dock: Checkout, way: Restore, folder: Path, patience: float | None = None) -> float:
    return _alone(dock, lambda: way.run(dock.environment, folder, BESIDE, patience))


def _alone(dock: Checkout, work: Callable[[], object]) -> float:
    """Seconds of `work`, which begins with nothing left to be written and whose database goes afterwards."""
    settle(dock)
    try:
        return seconds(work)
    finally:
        with postgres.administer(dock.environment) as connection:
            template.drop(connection, BESIDE)


def _refuse(question: str) -> None:
    raise RuntimeError(question)


def _quiet(_what: str, _done: int, _total: int) -> None:
    """Report to nobody."""
