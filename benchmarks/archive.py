"""Writes with the archiver running and without it: pgbench on one server, the archiver stopped and started between.

And with commits that wait for the archiver, as WAL_ARCHIVE_SYNCHRONOUS has them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from benchmarks.measure import Limit, Row, interleave, run
from benchmarks.stage import checkout
from drydock import postgres
from drydock.engine import wheels
from drydock.recovery.archive import archiver, synchronous
from drydock.recovery.upkeep import attendant

if TYPE_CHECKING:
    from tests.checkout import Checkout

ROUNDS = 5
SECONDS = 15
CLIENTS = 4
SCALE = 20
"""About 300 MB: more than shared_buffers, as a developer's data may be."""


def measure(rounds: int = ROUNDS) -> list[Row]:
    """Seconds per thousand transactions of pgbench's own kind, on each engine."""
    return [row for engine in ("docker", "embedded") for row in _rows(engine, rounds)]


def _rows(engine: str, rounds: int) -> list[Row]:
    with checkout(engine) as dock:
        environment = dock.environment
        _pgbench(dock, "--initialize", f"--scale={SCALE}", "--quiet")
        # Base backups and sealing are measured by themselves.
        attendant.stop(environment.settings)

        def archived() -> float:
            archiver.ensure(environment, lambda _: None)
            return _per_thousand(dock)

        def awaited() -> float:
            with postgres.administer(environment) as connection:
                synchronous.demand(connection, lambda _: None)
                found = _per_thousand(dock)
                synchronous.release(connection)
            return found

        def bare() -> float:
            environment.engine.stop_archiver()
            return _per_thousand(dock)

        interleave(1, archived, awaited, bare)
        ours, waiting, theirs = interleave(rounds, archived, awaited, bare)
    what, against = f"1,000 transactions of pgbench, {CLIENTS} clients", "the same with the archiver stopped"
    limit = Limit(0.75, at_least=True)
    return [
        Row(f"{what}, archived, {engine}", against, ours, theirs, limit),
        Row(f"{what}, each waiting for the archive, {engine}", against, waiting, theirs),
    ]


def _per_thousand(dock: Checkout) -> float:
    told = _pgbench(dock, f"--time={SECONDS}", f"--client={CLIENTS}", "--jobs=2", "--no-vacuum")
    found = re.search(r"tps = ([\d.]+)", told)
    if not found:
        raise RuntimeError(f"pgbench said no figure: {told}")
    return 1000 / float(found[1])


def _pgbench(dock: Checkout, *arguments: str) -> str:
    environment = dock.environment
    return run(
        [str(wheels.program("pgbench")), *arguments, environment.database_url(environment.superuser, "postgres")]
    )
