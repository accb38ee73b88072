"""How far the archive is behind the server, and waiting until a position is in it.

The slot says it: for a physical one, restart_lsn is what the archiver has reported as flushed to its disk
(src/backend/replication/walsender.c, ProcessStandbyReplyMessage). Everybody may read pg_replication_slots.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from drydock import wire
from drydock.checkout import SUPERUSER
from drydock.checks import Check, Status
from drydock.console import size
from drydock.errors import NotReadyError
from drydock.recovery.archive import synchronous
from drydock.recovery.archive.folders import PART_FILE, part_folder, slot_name
from drydock.recovery.wal.positions import format_lsn, parse_lsn

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from drydock.checkout import Checkout
    from drydock.environment import Environment

CHECK = "archive:received"
LOST = "lost"
# Seconds without a sign of life while there is something to receive. A busy disk takes its time over an fsync.
SILENCE = 30.0
FIRST_POLL, LAST_POLL, BACK_OFF = 0.001, 0.1, 1.3
PATIENCE = 0.01  # seconds between looks from which on something more is written
TIMEOUT = 30.0  # seconds
CONNECTING = 5.0  # seconds that a busy server gets to answer, however short the wait for the archiver may be
# Seconds that pg_receivewal gets to come back once it has lost its connection, as when a machine slept or its clock was
# changed: it tries again after five (RECONNECT_SLEEP_TIME of pg_receivewal.c).
COMING_BACK = 12.0
# As much of Postgres's own words for pg_replication_slots.wal_status (manual 54.20) as people need.
KEPT = {"unreserved": ", and the server is about to give up what it keeps for it", LOST: ""}
WAITING = ", and commits wait for it"
FLUSH = "SELECT pg_logical_emit_message(true, 'drydock', 'flush')"


@dataclass(frozen=True)
class Progress:
    """A look at the archiver from the server's side.

    Attributes:
        part: of the archive.
        received: the position up to which the WAL is on the archive's disk.
        written: the position up to which it is on the server's.
        connected: whether an archiver is receiving.
        slot: `reserved`, `extended`, `unreserved` or `lost`; empty where there is no slot.
        seconds: since anything was received, while there is something to receive; 0 otherwise.
        wanted: whether commits are to wait for the archiver (WAL_ARCHIVE_SYNCHRONOUS).
        awaited: whether they do.
        gone: the folder of the part, where somebody took it away, which does not end the archiver; empty otherwise.
    """

    part: str
    received: int
    written: int
    connected: bool
    slot: str
    seconds: float = 0.0
    wanted: bool = False
    awaited: bool = False
    gone: str = ""

    @property
    def lag(self) -> int:
        """Bytes of WAL that only the server has."""
        return max(0, self.written - self.received)


def question(checkout: Checkout) -> str:
    """An SQL expression: what `read` reads, as JSON."""
    written = "CASE WHEN NOT pg_is_in_recovery() THEN pg_current_wal_flush_lsn() END"
    state = "'received', s.restart_lsn, 'active', s.active, 'slot', s.wal_status"
    state += f", 'awaited', current_setting('{synchronous.SETTING}') = '{synchronous.STANDBY}'"
    return f"""(SELECT json_build_object({state}, 'written', {written})
      FROM (SELECT) AS one LEFT JOIN pg_replication_slots AS s ON s.slot_name = '{slot_name(checkout.state.part)}')"""  # noqa: S608 - a name of our own making


def read(checkout: Checkout, answer: str) -> Progress:
    """The answer to `question`."""
    found = json.loads(answer)
    received, written = (parse_lsn(found[name] or "0/0") for name in ("received", "written"))
    seen = Progress(
        part=checkout.state.part,
        received=received,
        written=written,
        connected=bool(found["active"]),
        slot=found["slot"] or "",
        wanted=checkout.settings.synchronous,
        awaited=found["awaited"],
        gone=missing_folder(checkout),
    )
    return replace(seen, seconds=_silence(part_folder(checkout))) if seen.lag else seen


def missing_folder(checkout: Checkout) -> str:
    """The folder of the part that is being written, where it is not there; empty where it is."""
    folder = part_folder(checkout)
    return "" if (folder / PART_FILE).exists() else str(folder)


def look(checkout: Checkout) -> Progress:
    """Ask the server.

    Raises:
        NotReadyError: where it does not answer.
    """
    with _session(checkout, TIMEOUT) as session:
        return _look(checkout, session)


def wait_for(environment: Environment, lsn: int, timeout: float = TIMEOUT) -> Progress:
    """Wait until the archiver has a position on its disk; what the server has not written yet is written.

    An archiver that runs and has lost its connection is waited for; one that has ended is not.

    Args:
        environment: whose archive.
        lsn: the position; everything before it counts.
        timeout: seconds.

    Raises:
        NotReadyError: where no archiver runs, it does not get there in time, or the server does not answer.
    """
    deadline, pause, nudged = time.monotonic() + timeout, FIRST_POLL, False
    archiver = _Archiver(environment)
    with _session(environment, max(timeout, CONNECTING)) as session:
        while (seen := _look(environment, session)).received < lsn:
            reason = archiver.gone(seen)
            if not reason and time.monotonic() > deadline:
                reason = f"it did not get further in {timeout:.0f} s"
            if reason:
                raise NotReadyError(_missing(seen, lsn, reason), hint="invoke up; invoke logs --service archiver")
            if not nudged and (seen.written < lsn or pause > PATIENCE):
                # What belongs to no transaction, such as a restore point, waits for the next one that is written. And
                # pg_receivewal keeps the end of a segment to itself until there is more (receivelog.c).
                session.query(FLUSH)
                nudged = True
            # The server tells nobody when an archiver reports.
            time.sleep(pause)
            pause = min(pause * BACK_OFF, LAST_POLL)
    return seen


def absence(environment: Environment) -> str:
    """Why no archiver is receiving, as a clause; empty where one is, or has come back within a few seconds.

    Raises:
        NotReadyError: where the server does not answer.
    """
    archiver = _Archiver(environment)
    with _session(environment, TIMEOUT) as session:
        while not (seen := _look(environment, session)).connected:
            if reason := archiver.gone(seen):
                return reason
            time.sleep(LAST_POLL)
    return ""


class _Archiver:
    """One that is not connected is waited for, as long as it runs and can be expected to connect again."""

    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        self.until: float | None = None

    def gone(self, seen: Progress) -> str:
        """Why it is not waited for any longer, as a clause; empty where it is."""
        if seen.connected:
            self.until = None
            return ""
        if not self.environment.engine.archiver().running:
            return "the archiver does not run"
        if self.until is None:
            self.until = time.monotonic() + COMING_BACK
        return "" if time.monotonic() < self.until else "the archiver runs and cannot connect"


def check(progress: Progress) -> Check:
    """What `status` says of it; an archiver that does not run is a warning, for all the data is there."""
    problem = f"{progress.gone} is gone, with all that was archived there" if progress.gone else _problem(progress)
    lag = f"{size(progress.lag)} behind" + (f" for {progress.seconds:.0f} s" if progress.seconds >= 1 else "")
    if problem:
        return Check(CHECK, Status.WARN, f"{problem}; {lag}", "invoke up")
    return Check(
        CHECK, Status.PASS, f"up to {format_lsn(progress.received)}, {lag}{WAITING if progress.awaited else ''}"
    )


def never_started() -> Check:
    """What `status` says where archiving is wanted and there is no part of the archive yet."""
    return Check(CHECK, Status.WARN, "the archiver was never started", "invoke up")


def _problem(progress: Progress) -> str:
    if not progress.slot:
        return "the archiver's replication slot is gone"
    if progress.slot == LOST:
        return "the archiver did not run for longer than the server keeps WAL for it: some is lost to the archive"
    if not progress.connected:
        return f"the archiver does not run{KEPT.get(progress.slot, '')}{WAITING if progress.awaited else ''}"
    if progress.seconds > SILENCE:
        return f"the archiver is connected and receives nothing{WAITING if progress.awaited else ''}"
    if progress.wanted and not progress.awaited:
        return f"commits do not wait for it, though {synchronous.SWITCH} is on"
    return ""


@contextmanager
def _session(checkout: Checkout, timeout: float) -> Iterator[wire.Session]:
    try:
        with wire.connect(checkout, checkout.superuser, SUPERUSER, timeout=timeout) as session:
            yield session
    except OSError as error:
        port = checkout.state.postgres_port
        raise NotReadyError(f"Postgres does not answer on port {port}: {error}.", hint="invoke up") from error


def _look(checkout: Checkout, session: wire.Session) -> Progress:
    return read(checkout, session.query(f"SELECT {question(checkout)}")[0][0] or "{}")


def _missing(seen: Progress, lsn: int, reason: str) -> str:
    return f"The archive has the WAL up to {format_lsn(seen.received)}, not to {format_lsn(lsn)}: {reason}."


def _silence(folder: Path) -> float:
    """Seconds since anything was written in a part's folder."""
    try:
        newest = max(entry.stat().st_mtime for entry in os.scandir(folder))
    except (OSError, ValueError):
        return 0.0
    return max(0.0, time.time() - newest)
