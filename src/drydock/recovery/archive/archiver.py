"""The archiver of an environment: its slot and its part of the archive, and a new one of each where WAL was lost."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from drydock import postgres, readiness
from drydock.engine import ARCHIVER
from drydock.errors import NotReadyError
from drydock.recovery.archive import lives, progress, receiving, synchronous
from drydock.recovery.archive.folders import Archive, Part, part_name, part_order, slot_name
from drydock.recovery.wal.positions import (
    NAME,
    SEGMENT_SIZE,
    Descent,
    format_lsn,
    history_name,
    parse_history,
    parse_lsn,
    segment_named,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from drydock.environment import Environment
    from drydock.postgres import Connection

SLOT = re.compile(r"drydock_\d+(_\d+)?")
CONNECT_TIMEOUT = 15.0  # seconds that a launched archiver gets to connect
POLL = 0.05
ENDING = 5000  # milliseconds that the server's side of a connection gets to end
FIRST = "first start"


@dataclass(frozen=True)
class Slot:
    """A replication slot of ours; the server keeps WAL from `kept` on: None where it has given that up."""

    active: bool
    kept: int | None


def ensure(environment: Environment, report: Callable[[str], None]) -> None:
    """Have the WAL of a ready, bootstrapped server archived; or no longer archived, where WAL_ARCHIVE is off.

    Begins a new part of the archive where WAL was lost. Returns when the archiver is connected.

    Raises:
        DrydockError: naming what keeps the archiver from it; the servers are none the worse for it.
    """
    if prepare(environment, report):
        launch(environment, report)


def prepare(environment: Environment, report: Callable[[str], None]) -> bool:
    """What `ensure` does before the archiver is started, and quick; False where nothing is to be archived.

    Raises:
        DrydockError: where the server does not answer or is not ours, or the description of a part is damaged.
    """
    if not environment.settings.archiving:
        _retire(environment, report)
        return False
    with postgres.administer(environment) as connection:
        # First of all: whatever keeps an archiver from being started, nobody waits for it.
        if not (environment.settings.synchronous and any(slot.active for slot in _slots(connection).values())):
            synchronous.release(connection)
        archive = Archive(environment.settings, environment.state.system_identifier)
        part = _present(environment, archive)
        lost = _lost(environment, archive, part, connection)
        if lost or part is None:
            environment.engine.stop_archiver()
            incarnation, gone = environment.state.incarnation, environment.state.part if lost and not part else ""
            part = begin(archive, connection, incarnation=incarnation, reason=lost or FIRST, gone=gone)
            if lost:
                report(f"the WAL archive begins anew (part {part.name}): {lost}")
        elif not _slots(connection)[slot_name(part.name)].active:
            # One that runs would try again within five seconds; a new one does so at once.
            environment.engine.stop_archiver()
            for one in receiving.stunted(archive.segments(part.name)):
                one.path.unlink()
        _drop_others(connection, part.name)
        environment.record(part=part.name)
        lives.record(archive, part.name, datetime.now(UTC))
    return True


def launch(environment: Environment, report: Callable[[str], None]) -> None:
    """Start the archiver, and wait until it is connected.

    Raises:
        DrydockError: where it ends or does not connect, with its last words.
    """
    environment.engine.start_archiver(report)
    deadline = time.monotonic() + CONNECT_TIMEOUT
    while not progress.look(environment).connected:
        state = environment.engine.archiver()
        if state.failed or time.monotonic() > deadline:
            reason = f"is {state.status}" if state.failed else f"has not connected after {CONNECT_TIMEOUT:.0f} s"
            message = readiness.with_log(environment, ARCHIVER, f"The archiver {reason}")
            raise NotReadyError(message, hint="invoke up, once that is mended; the WAL waits for it")
        time.sleep(POLL)
    if environment.settings.synchronous:
        with postgres.administer(environment) as connection:
            synchronous.demand(connection, report)


def begin(
    archive: Archive, connection: Connection, *, incarnation: int, reason: str, parent: int = 0, gone: str = ""
) -> Part:
    """Begin a part: a slot, so that the server keeps its WAL from now on, then a folder for it.

    Args:
        archive: of the connected server's cluster.
        connection: as the superuser, autocommit; to a server that may be in recovery.
        incarnation: whose WAL it will be.
        reason: for the description.
        parent: the incarnation that was restored from.
        gone: the part before it, where that is not there any more: its WAL is missing, and base backups bear its name.
    """
    earlier = [part for part in archive.parts() if part.incarnation == incarnation]
    names = [*(part.name for part in earlier), *([gone] if gone else [])]
    name = part_name(incarnation, 1 + max((part_order(before)[1] for before in names), default=0))
    start, timeline = _make_slot(connection, slot_name(name))
    hole = bool(gone)
    if earlier and not hole:
        before = earlier[-1]
        hole = start > receiving.complete_to(before, archive.segments(before.name))
    part = Part(
        system_identifier=archive.system_identifier,
        name=name,
        incarnation=incarnation,
        timeline=timeline,
        start=format_lsn(start),
        begun=datetime.now(UTC).isoformat(timespec="seconds"),
        reason=reason,
        parent=parent,
        hole=hole,
    )
    archive.begin(part)
    return part


def _present(environment: Environment, archive: Archive) -> Part | None:
    """The part that is to be gone on with: the recorded one, or where none is, the incarnation's last."""
    state = environment.state
    mine = [part for part in archive.parts() if part.incarnation == state.incarnation]
    if _recorded(environment):
        return next((part for part in mine if part.name == state.part), None)
    return mine[-1] if mine else None


def _recorded(environment: Environment) -> bool:
    """Whether a part of this incarnation is recorded as the one that is being written."""
    state = environment.state
    return bool(state.part) and part_order(state.part)[0] == state.incarnation


def _lost(environment: Environment, archive: Archive, part: Part | None, connection: Connection) -> str:
    """Why a part cannot be gone on with, as a clause; empty where it can, or there is none yet."""
    recorded = _recorded(environment)
    if part is None:
        return f"{archive.folder / environment.state.part} is gone" if recorded else ""
    slot = _slots(connection).get(slot_name(part.name))
    if slot is None:
        return "its replication slot is gone" if recorded else "the archive was off"
    if slot.kept is None:
        return "the archiver did not run for longer than the server keeps WAL for it (max_slot_wal_keep_size)"
    if slot.active:
        return ""
    stored = archive.segments(part.name)
    at = receiving.resumes_at(stored)
    if at:
        return receiving.refusal(at, _server(connection))
    return "its files are gone" if _aligned(slot.kept) > receiving.complete_to(part, stored) else ""


def _retire(environment: Environment, report: Callable[[str], None]) -> None:
    """End the archiver and what the server keeps for it."""
    if not environment.state.part:
        return
    report("WAL_ARCHIVE is off: what is written from now on is not archived")
    environment.engine.stop_archiver()
    with postgres.administer(environment) as connection:
        synchronous.release(connection)
        _drop_others(connection, "")
    environment.record(part="")


def _slots(connection: Connection) -> dict[str, Slot]:
    query = "SELECT slot_name, active, wal_status, restart_lsn::text FROM pg_replication_slots"
    found = {}
    for name, active, kept, lsn in connection.execute(query):
        if SLOT.fullmatch(str(name)):
            found[str(name)] = Slot(bool(active), parse_lsn(str(lsn)) if lsn and kept != progress.LOST else None)
    return found


def _make_slot(connection: Connection, name: str) -> tuple[int, int]:
    """A slot that keeps WAL at once, as pg_receivewal's --create-slot does not: from which position and timeline."""
    if name in _slots(connection):
        _drop(connection, name)
    query = """SELECT lsn::text, (SELECT timeline_id FROM pg_control_checkpoint())
               FROM pg_create_physical_replication_slot(%s, true)"""
    row = connection.execute(query, (name,)).fetchone()
    assert row is not None
    return _aligned(parse_lsn(str(row[0]))), int(str(row[1]))


def _drop_others(connection: Connection, part: str) -> None:
    """Drop every slot of ours but a part's: each keeps WAL on the server that nobody will fetch."""
    for name in _slots(connection):
        if name != slot_name(part):
            _drop(connection, name)


def _drop(connection: Connection, name: str) -> None:
    ended = "SELECT pg_terminate_backend(active_pid, %s) FROM pg_replication_slots WHERE slot_name = %s AND active"
    connection.execute(ended, (ENDING, name))
    connection.execute("SELECT pg_drop_replication_slot(%s)", (name,))


def _server(connection: Connection) -> receiving.Server:
    """What the server has. It is not in recovery."""
    query = "SELECT pg_walfile_name(pg_current_wal_lsn()), pg_current_wal_flush_lsn()::text"
    row = connection.execute(query).fetchone()
    assert row is not None
    timeline = int(str(row[0])[:8], 16)
    names = [str(name) for (name,) in connection.execute("SELECT name FROM pg_ls_waldir()")]
    segments = {segment_named(name).number for name in names if NAME.fullmatch(name)}
    return receiving.Server(_descent(connection, timeline), parse_lsn(str(row[1])), segments)


def _descent(connection: Connection, timeline: int) -> Descent:
    """The first timeline has no history file."""
    query = "SELECT pg_read_file(%s, true)"
    row = connection.execute(query, (f"pg_wal/{history_name(timeline)}",)).fetchone()
    assert row is not None
    return parse_history(timeline, str(row[0] or ""))


def _aligned(lsn: int) -> int:
    """The beginning of the segment that holds a position."""
    return lsn // SEGMENT_SIZE * SEGMENT_SIZE
