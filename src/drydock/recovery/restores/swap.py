"""The swap: what was gone back to beside takes the environment's place, in one write of its state.

Until that write the old cluster is the environment's, from then on the new one is; each has its own volume and its own
part of the WAL archive, and neither changes the other. The old volume stays: going back to it is the same switch.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from drydock import lifecycle, stale_redis
from drydock.fault_points import Point, reached
from drydock.files import write_atomic
from drydock.recovery.archive.folders import Archive, Part, part_name, slot_name
from drydock.recovery.restores import promotion, unfinished
from drydock.recovery.upkeep import attendant
from drydock.recovery.wal.positions import SEGMENT_SIZE, format_lsn, history_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from drydock.environment import Environment
    from drydock.recovery.restores.rewind import Paused


def adopt(
    environment: Environment, paused: Paused, incarnation: int, parent: int, report: Callable[[str], None]
) -> None:
    """Make a server that pauses the environment's own, as a new incarnation that is archived from its first record on.

    A kill at any moment leaves the old cluster or the new one; the next task removes what was unfinished. Redis is
    flushed.

    Raises:
        DrydockError: where a step fails; before the switch the old cluster is untouched.
    """
    archive = Archive(environment.settings, paused.system_identifier)
    part = _promote(environment, archive, paused, incarnation, parent)
    environment.engine.beside.end(paused.volume)
    reached(Point.SWAP_BESIDE_ENDED)
    switch(environment, incarnation, part, report, system_identifier=paused.system_identifier)
    unfinished.finish(environment)


def switch(
    environment: Environment, incarnation: int, part: str, report: Callable[[str], None], *, system_identifier: str = ""
) -> None:
    """Stop the servers, have the environment be another incarnation of its cluster, start them, and flush Redis.

    Also the way back: the data and the replication slot of an incarnation are in its volume, so its part of the archive
    goes on.

    Args:
        environment: whose lock is held.
        incarnation: whose volume is there.
        part: of the archive, which that incarnation is written to; empty where there is none.
        report: takes a line per slow step.
        system_identifier: of the cluster, where the environment had none.

    Raises:
        DrydockError: naming what failed; after the switch `up` goes on from there.
    """
    attendant.stop(environment.settings)
    environment.engine.stop()
    stale_redis.owe(environment.settings, incarnation)
    reached(Point.SWAP_STOPPED)
    identity = system_identifier or environment.state.system_identifier
    environment.record(incarnation=incarnation, part=part, system_identifier=identity, started_with="")
    reached(Point.SWAP_SWITCHED)
    lifecycle.resume(environment, report)
    reached(Point.SWAP_STARTED)
    attendant.spawn(environment)


def _promote(environment: Environment, archive: Archive, paused: Paused, incarnation: int, parent: int) -> str:
    """Have the server leave recovery; returns the part of the archive that goes on from there, or nothing."""
    beside, settings = environment.engine.beside, environment.settings
    part, start = part_name(incarnation) if settings.archiving else "", 0
    if part:
        start = promotion.make_slot(beside, paused.volume, slot_name(part))
    reached(Point.SWAP_SLOT_MADE)
    promoted = promotion.promote(beside, paused, environment.superuser)
    promotion.refuse_used(promoted, set(archive.histories()))
    reached(Point.SWAP_PROMOTED)
    if part:
        description = Part(
            system_identifier=archive.system_identifier,
            name=part,
            incarnation=incarnation,
            timeline=promoted.timeline,
            start=format_lsn(start // SEGMENT_SIZE * SEGMENT_SIZE),
            begun=datetime.now(UTC).isoformat(timespec="seconds"),
            reason="restored",
            parent=parent,
        )
        # The archiver fetches it too. Until it has, only this copy keeps the next promotion from taking the number.
        write_atomic(archive.begin(description) / history_name(promoted.timeline), promoted.history)
    reached(Point.SWAP_PART_BEGUN)
    return part
