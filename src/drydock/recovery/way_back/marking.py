"""Making marks: a restore point in the WAL, proven to be in the archive before it is written down as a mark.

A restore point is a record of the WAL (pg_create_restore_point, manual 9.27.3). It counts once the archiver has it on
disk. A mark with a name of its own is proven further: its segment is finished, packed and hashed. The marks that tasks
leave before they change anything only wait for the archiver, since everybody would wait with them.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from drydock import postgres
from drydock.errors import NotReadyError
from drydock.fault_points import Point, reached
from drydock.recovery.archive import marks
from drydock.recovery.archive.folders import Archive, slot_name
from drydock.recovery.archive.marks import AUTOMATIC, Kind, Mark
from drydock.recovery.wal.positions import SEGMENT_SIZE, Segment, format_lsn, parse_lsn

if TYPE_CHECKING:
    from drydock.environment import Environment
    from drydock.postgres import Connection

# Seconds. An archiver that keeps up has a record on disk within milliseconds; behind a bulk load it takes its time.
PATIENCE = 15.0
_POINT = """
    SELECT lsn::text, left(pg_walfile_name(lsn), 8), clock_timestamp()
    FROM (SELECT pg_create_restore_point(%s) AS lsn OFFSET 0) AS made
"""
# Transactional: its commit is flushed, and begins the segment after the switch, without which the one before would
# still be the archive's newest.
_NEXT = "SELECT pg_logical_emit_message(true, 'drydock', %s)"


@dataclass(frozen=True)
class Restorepoint:
    """What the server said of a restore point that it has written."""

    name: str
    timeline: int
    lsn: str
    made: str


def make(environment: Environment, name: str, *, replace: bool = False) -> Mark:
    """Make a mark with a name, and prove it: everything up to it is in the archive, packed and hashed.

    Raises:
        SettingsError: where it cannot be a name.
        RefusedError: where there is a mark of that name and it is not to be replaced.
        NotReadyError: where the archiver does not run or has not got everything in time. Nothing is written then.
    """
    marks.check_name(name)
    from drydock.recovery.archive import progress
    from drydock.recovery.archive.catalogue import Catalogue
    from drydock.recovery.upkeep import sealing

    archive = archive_of(environment)
    marks.refuse_taken(archive, name, replace=replace)
    with postgres.administer(environment) as connection:
        _refuse_without_archive(environment, connection, archive)
        point = write_point(connection, name)
        connection.execute("SELECT pg_switch_wal()")
        connection.execute(_NEXT, (name,))
        end = position(connection)
    reached(Point.MARK_POINT_MADE)
    progress.wait_for(environment, end, environment.settings.ready_timeout)
    sealing.seal(environment.settings, archive, writing=environment.state.part)
    # The position is the record's end: where that is a segment's, the record is in the one before.
    segment = Segment(point.timeline, (parse_lsn(point.lsn) - 1) // SEGMENT_SIZE)
    if Catalogue(archive).find(environment.state.part, segment) is None:
        raise NotReadyError(
            f"The mark {name} is not proven: {segment.name} is not in the catalogue yet.", hint="invoke mark, again"
        )
    reached(Point.MARK_PROVEN)
    mark = _mark(environment, point, Kind.NAMED, end, segment=segment.name)
    marks.write(archive, mark)
    return mark


class UnmarkedError(NotReadyError):
    """There can be no mark; the data can be changed all the same.

    Args:
        reason: as a clause.
        hint: what to do about it.
    """

    def __init__(self, reason: str, *, hint: str) -> None:
        super().__init__(f"There can be no mark: {reason}.", hint=hint)
        self.reason = reason


def begin_automatic(environment: Environment, connection: Connection, task: str, ident: str) -> Restorepoint:
    """Write the restore point of the mark that a task leaves. A commit of the caller's must follow: it flushes it.

    Raises:
        UnmarkedError: where there is no archive that would have it.
    """
    _refuse_without_archive(environment, connection, archive_of(environment))
    words = re.sub(r"[^a-z]+", "-", task.lower()).strip("-")[:20]
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    return write_point(connection, f"{AUTOMATIC}{words}-{stamp}-{ident}")


def finish_automatic(environment: Environment, point: Restorepoint, end: int, task: str) -> Mark:
    """Wait until the archiver has everything up to `end`, and write the mark down.

    Raises:
        UnmarkedError: where it has not got that far in time.
    """
    from drydock.recovery.archive import progress

    try:
        progress.wait_for(environment, end, PATIENCE)
    except NotReadyError as error:
        raise UnmarkedError(_clause(error.message), hint=error.hint) from error
    mark = _mark(environment, point, Kind.AUTOMATIC, end, task=task)
    marks.write(archive_of(environment), mark)
    return mark


def write_point(connection: Connection, name: str) -> Restorepoint:
    """Have the server write a restore point, in a statement and transaction of its own.

    In a transaction with others it would come before their commit, and so undo them (trap of psql -c "…; …").
    """
    assert connection.autocommit
    row = connection.execute(_POINT, (name,)).fetchone()
    assert row is not None
    lsn, timeline, made = row
    assert isinstance(made, datetime)
    return Restorepoint(name, int(str(timeline), 16), str(lsn), made.astimezone(UTC).isoformat())


def position(connection: Connection) -> int:
    """How far the WAL is on the server's disk."""
    row = connection.execute("SELECT pg_current_wal_flush_lsn()::text").fetchone()
    assert row is not None
    return parse_lsn(str(row[0]))


def archive_of(environment: Environment) -> Archive:
    """The archive of this environment's cluster."""
    return Archive(environment.settings, environment.state.system_identifier)


def _mark(
    environment: Environment, point: Restorepoint, kind: Kind, end: int, *, task: str = "", segment: str = ""
) -> Mark:
    state = environment.state
    return Mark(
        **asdict(point),
        kind=kind,
        system_identifier=state.system_identifier,
        incarnation=state.incarnation,
        part=state.part,
        flushed=format_lsn(end),
        task=task,
        segment=segment,
    )


def _refuse_without_archive(environment: Environment, connection: Connection, archive: Archive) -> None:
    """Stop before a restore point that nobody would receive, or nothing could be restored to.

    Raises:
        UnmarkedError: saying what is missing.
    """
    if not environment.settings.archiving:
        raise UnmarkedError("WAL_ARCHIVE is off", hint="Set WAL_ARCHIVE=on in .env, then: invoke up")
    if not environment.state.part:
        raise UnmarkedError("the archiver was never started", hint="invoke up")
    from drydock.recovery.archive import progress

    if gone := progress.missing_folder(environment):
        raise UnmarkedError(f"{gone} is gone", hint="invoke up")
    query = "SELECT FROM pg_replication_slots WHERE slot_name = %s AND active"
    connected = connection.execute(query, (slot_name(environment.state.part),)).rowcount
    if not connected and (reason := progress.absence(environment)):
        raise UnmarkedError(reason, hint="invoke up")
    # Whether it is sound, and nothing is missing after it, is for the plan of a restore to say: every reset waits here.
    if not any(archive.bases.glob("[0-9]*/base.json")):
        raise UnmarkedError("the first base backup is not finished", hint="invoke status shows how far it is")


def _clause(sentence: str) -> str:
    return sentence[0].lower() + sentence[1:].rstrip(".")
