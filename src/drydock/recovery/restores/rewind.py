"""Going back beside: a volume filled from a base backup and the WAL, a server on it that stops where it was told to.

The server gets one kind of target only, the position of a record on a timeline by its number (manual 20.5.6), finds
all its WAL in pg_wal, and pauses there. What it stopped at is read back and compared before anybody looks at the data.
"""

from __future__ import annotations

import io
import json
import re
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TYPE_CHECKING, BinaryIO, Protocol, cast

from drydock import subscriptions
from drydock.errors import DrydockError
from drydock.fault_points import Point, reached
from drydock.recovery.wal.positions import format_lsn, parse_lsn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from drydock.engine import Beside

    Opened = AbstractContextManager[BinaryIO]

FIRST_POLL, LAST_POLL, BACK_OFF = 0.02, 0.1, 1.2
LAUNCHES = 4  # as many times the WAL may raise what a standby must have
# Whatever the files of the base backup say (ALTER SYSTEM is among them), none of this happens beside. The other kinds
# of target come before ours: the server refuses a second one.
NOTHING = (
    "recovery_target",
    "recovery_target_name",
    "recovery_target_time",
    "recovery_target_xid",
    "primary_conninfo",
    "primary_slot_name",
    "archive_command",
    "archive_library",
    "archive_cleanup_command",
    "recovery_end_command",
    "synchronous_standby_names",
)
ALONE = (
    "restore_command=false",
    "archive_mode=off",
    "hot_standby=on",
    "recovery_min_apply_delay=0",
    "recovery_target_action=pause",
    "default_transaction_read_only=off",
    "logging_collector=off",
    "log_destination=stderr",
    "log_min_messages=warning",
    "lc_messages=C",
    subscriptions.NOBODY_SUBSCRIBES,
)
_STOPPED = re.compile(r'recovery stopping (before|after) WAL location \(LSN\) "([0-9A-F]+/[0-9A-F]+)"')
_PAUSING = "pausing at the end of recovery"
_TOO_LOW = re.compile(r"(max_\w+) = \d+ is a lower setting than on the primary server, where its value was (\d+)")
# A database is invalid for good from when it begins to be dropped, whose transaction then marks the row (dropdb() in
# src/backend/commands/dbcommands.c). One that such a transaction left behind was invalid at that moment as well.
# All of it in one question: to ask costs some 40 ms here, and three times as many on Docker.
_READ_BACK = """SELECT pg_get_wal_replay_pause_state(), pg_last_wal_replay_lsn(), system_identifier,
    pg_last_xact_replay_timestamp() AT TIME ZONE 'UTC', (
        SELECT json_agg(datname) FROM pg_database,
            LATERAL (SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS next) AS snapshot
        WHERE datconnlimit = -2 AND (xmax = '0' OR 'in progress' =
            pg_xact_status((next - ((next - xmax::text::bigint) & 4294967295))::text::xid8)))
    FROM pg_control_system()"""
_LAST_WORDS = re.compile(r"\b(?:FATAL|PANIC|ERROR): +(.*)")


class Stop(Protocol):
    """Where recovery ends: after the record that begins at `lsn`, or before the first that begins there or later."""

    @property
    def timeline(self) -> int:
        """The timeline's number."""
        ...

    @property
    def lsn(self) -> int:
        """A position of the timeline."""
        ...

    @property
    def inclusive(self) -> bool:
        """Whether the record that begins there is replayed."""
        ...


@dataclass(frozen=True)
class Piece:
    """A file for pg_wal: its bare name, its size in bytes, and how to open it; what comes out has been checked."""

    name: str
    size: int
    open: Callable[[], Opened]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All that a moment is made from.

    Attributes:
        base: opens the base backup as one uncompressed tar archive, which holds the WAL it needs itself.
        wal: the segments behind those of the base backup, up to the stop.
        last: those which the base backup has too, if only their beginning, and every history file that is known, so
            that the timeline which begins at the stop gets a number of its own.
        settings: of the server that replays this WAL: what it must have at least, as the base backup's server had it,
            and its memory.
        stop: where to stop.
    """

    base: Callable[[], Opened]
    wal: Sequence[Piece]
    last: Sequence[Piece]
    settings: Mapping[str, str]
    stop: Stop


@dataclass(frozen=True)
class Paused:
    """A server that stands at the stop: its volume, the position behind the last record, its cluster and last commit.

    `last_commit` is UTC as the server words it; empty where no commit was replayed. `raised` is what the WAL asked for
    beyond the base backup's settings, by name. `dropped` are the databases that were being dropped, and so are lost.
    """

    volume: str
    replayed: int
    system_identifier: str
    last_commit: str
    dropped: tuple[str, ...] = ()
    raised: Mapping[str, str] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)


def rewind(beside: Beside, volume: str, recipe: Recipe, report: Callable[[str], None]) -> Paused:
    """Fill a new volume and have a server on it replay the WAL up to the stop, where it pauses.

    Raises:
        EngineError, DrydockError: where a file is damaged, or the server did not stop where it should; the volume is
            then to be removed.
    """
    begun = time.monotonic()
    beside.create(volume)
    reached(Point.REWIND_CREATED)
    fill(beside, volume, recipe)
    reached(Point.REWIND_FILLED)
    filled = time.monotonic()
    stopped, found = recover(beside, volume, recipe, report)
    reached(Point.REWIND_PAUSED)
    seconds = {"fill": filled - begun, "replay": time.monotonic() - filled}
    if (found.replayed > stopped) is not recipe.stop.inclusive:
        where = format_lsn(found.replayed)
        raise DrydockError(f"The server beside stands at {where}, and was to stop at {format_lsn(stopped)}.")
    return replace(found, seconds=seconds)


def fill(beside: Beside, volume: str, recipe: Recipe) -> None:
    """Extract the base backup, lay the WAL beside it at the same time, and the file that asks for recovery last."""
    if recipe.wal:
        # Both of the following would make it for their files, and one fails at times because the other just has.
        with _Tar(iter([_folder()])) as stream:
            beside.write(volume, cast("BinaryIO", stream))
    with ThreadPoolExecutor(1) as second:
        behind = second.submit(_lay, beside, volume, recipe.wal)
        with recipe.base() as stream:
            beside.write(volume, stream)
        behind.result()
    # What is in the base backup as well, and may have become longer since.
    _lay(beside, volume, recipe.last, _signal())


def _lay(beside: Beside, volume: str, pieces: Sequence[Piece], *more: tuple[tarfile.TarInfo, Opened]) -> None:
    if pieces or more:
        with _Tar(chain([_folder()], _members(pieces), more)) as stream:
            beside.write(volume, cast("BinaryIO", stream))


def options(recipe: Recipe, raised: Mapping[str, str]) -> list[str]:
    """The configuration that makes a server stop where it should, and do nothing else."""
    stop = recipe.stop
    return [
        *(f"{name}=" for name in NOTHING),
        *ALONE,
        *(f"{name}={value}" for name, value in {**recipe.settings, **raised}.items()),
        f"recovery_target_timeline={stop.timeline}",
        f"recovery_target_lsn={format_lsn(stop.lsn)}",
        f"recovery_target_inclusive={'on' if stop.inclusive else 'off'}",
    ]


def recover(beside: Beside, volume: str, recipe: Recipe, report: Callable[[str], None]) -> tuple[int, Paused]:
    """Launch the server and wait until it pauses; returns the position of the record that it stopped at, and itself.

    Raises:
        DrydockError: with what it said last, where it ended instead.
    """
    raised: dict[str, str] = {}
    for _ in range(LAUNCHES):
        beside.launch(volume, 0, options(recipe, raised))
        log, paused = _wait(beside, volume)
        # The WAL says what its server had. A standby with less waits for somebody to raise it (manual 27.4.3).
        lacking = dict(_TOO_LOW.findall(log))
        if paused:
            return _compare(log, recipe.stop), replace(paused, raised=raised)
        raised |= lacking
        report(f"once more with {', '.join(f'{name}={value}' for name, value in lacking.items())}: the WAL asks for it")
        beside.end(volume)
    raise DrydockError(f"The server beside asks for ever more: {raised}.")


def _wait(beside: Beside, volume: str) -> tuple[str, Paused | None]:
    """Everything the server wrote until it paused, and what it says of itself; nothing where it wants higher settings.

    Raises:
        DrydockError: where it ended.
    """
    pause = FIRST_POLL
    while True:
        state, log = beside.state(volume), "\n".join(beside.logs(volume))
        if _TOO_LOW.search(log):
            return log, None
        # What it says comes before what it does.
        if _PAUSING in log and state.running and (paused := _paused(beside, volume)):
            return log, paused
        if not state.running:
            words = _LAST_WORDS.findall(log)
            reason = words[-1].rstrip(".") if words else f"exit code {state.exit_code}"
            raise DrydockError(f"The server beside did not get to the stop: {reason}.", hint="invoke archive.verify")
        time.sleep(pause)
        pause = min(pause * BACK_OFF, LAST_POLL)


def _paused(beside: Beside, volume: str) -> Paused | None:
    """What the server says of itself; None where it does not pause yet."""
    state, position, cluster, last_commit, dropped = beside.ask(volume, _READ_BACK).strip().split("|", 4)
    if state != "paused":
        return None
    return Paused(volume, parse_lsn(position), cluster, last_commit, tuple(json.loads(dropped or "[]")))


def _compare(log: str, stop: Stop) -> int:
    """Where the server says that it stopped, compared with where it was to stop.

    Raises:
        DrydockError: where they differ.
    """
    wanted = "after" if stop.inclusive else "before"
    said = [(side, parse_lsn(lsn)) for side, lsn in _STOPPED.findall(log)]
    for side, lsn in said[-1:]:
        # Just before a record that begins there or, where none does, before the next one.
        if side == wanted and (lsn == stop.lsn or (lsn > stop.lsn and not stop.inclusive)):
            return lsn
    found = ", ".join(f"{side} {format_lsn(lsn)}" for side, lsn in said) or "nowhere"
    raise DrydockError(
        f"The server beside stopped {found} instead of {wanted} {format_lsn(stop.lsn)}.", hint="invoke archive.verify"
    )


def _members(pieces: Sequence[Piece]) -> Iterator[tuple[tarfile.TarInfo, Opened]]:
    for piece in pieces:
        yield _member(f"pg_wal/{piece.name}", piece.size), piece.open()


def _folder() -> tuple[tarfile.TarInfo, Opened]:
    """The folder of the WAL as a member of its own: two tars that make it at once for their files fail at times."""
    found = _member("pg_wal", 0)
    found.type, found.mode = tarfile.DIRTYPE, 0o700
    return found, io.BytesIO()


def _signal() -> tuple[tarfile.TarInfo, Opened]:
    return _member("recovery.signal", 0), io.BytesIO()


def _member(name: str, size: int) -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.size, found.mode, found.mtime = size, 0o600, int(time.time())
    return found


class _Tar(io.RawIOBase):
    """A tar archive made while it is read; each file is opened when its turn comes."""

    def __init__(self, members: Iterator[tuple[tarfile.TarInfo, Opened]]) -> None:
        self._pieces = self._content(members)
        self._left = memoryview(b"")

    def readable(self) -> bool:
        """Always."""
        return True

    def read(self, size: int = -1) -> bytes:
        """The next piece, of at most `size` bytes; none at the end."""
        if not self._left:
            self._left = memoryview(next(self._pieces, b""))
        found, self._left = self._left[:size], self._left[size:]
        return bytes(found)

    def _content(self, members: Iterator[tuple[tarfile.TarInfo, Opened]]) -> Iterator[bytes]:
        for header, opened in members:
            yield header.tobuf(tarfile.USTAR_FORMAT)
            written = 0
            with opened as stream:
                while data := stream.read(min(1 << 20, header.size - written)):
                    written += len(data)
                    yield data
            if written != header.size:
                raise DrydockError(f"{header.name} has {written} bytes instead of {header.size}.")
            if header.size % tarfile.BLOCKSIZE:
                yield bytes(-header.size % tarfile.BLOCKSIZE)
        yield bytes(tarfile.BLOCKSIZE * 2)
