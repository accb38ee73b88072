"""The archive at a glance, for `status` and `doctor`: by the names of its files alone. `archive.verify` reads them."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from drydock import wire
from drydock.checkout import SUPERUSER
from drydock.checks import Check, Status
from drydock.console import size
from drydock.engine import ARCHIVER
from drydock.errors import DrydockError
from drydock.recovery.archive import progress
from drydock.recovery.archive.chain import Chain
from drydock.recovery.bases import base, tablespaces
from drydock.recovery.upkeep import attendant
from drydock.recovery.wal.positions import HISTORY, format_lsn, parse_lsn

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from drydock.environment import Environment
    from drydock.recovery.archive.folders import Archive, Part, Stored
    from drydock.recovery.archive.progress import Progress
    from drydock.recovery.bases.base import Base
    from drydock.recovery.wal.positions import Descent

BASE, WINDOW, HOLES, PROCESS, SLOT, ROOM, SPACES = (
    f"archive:{name}" for name in ("base", "window", "holes", "process", "slot", "room", "tablespaces")
)
LITTLE = 1 << 30  # bytes
FORGOTTEN = 64 << 20  # bytes: more than this kept by the server is worth a word
WORDS = 20  # last lines of the archiver's that are looked at: it tries every five seconds, and says two
NONE = "none"
ANSWERS = "postgres:query"  # of `readiness`: the server can be asked
ASKING = 5.0  # seconds
MAKE = "invoke backup.base"
ANEW = "invoke backup.base, to begin anew; invoke archive.verify says what is damaged"


def status(environment: Environment, ready: Sequence[Check]) -> Iterator[Check]:
    """What `status` says of the archive on top of `readiness`, whose checks are given; nothing where it is off."""
    if not environment.settings.archiving or not environment.state.part:
        return
    receiving = any(check.name == progress.CHECK and check.status is Status.PASS for check in ready)
    archive = base.archive_of(environment)
    bases = base.bases(archive)
    try:
        seen = Overview(environment, archive, bases)
        yield seen.window(receiving=receiving)
        yield from (check for check in [seen.holes()] if check.detail != NONE)
    except DrydockError as error:
        yield Check(WINDOW, Status.WARN, error.message.rstrip("."), error.hint)
    yield _backups(environment, archive, bases)
    if any(check.name == ANSWERS and check.passed for check in ready):
        yield from _tablespaces(environment)


def examine(environment: Environment) -> list[Check]:
    """What `doctor` asks beyond that: why an archiver does not run, what the server keeps for it, what room is left.

    Raises:
        DrydockError: where the engine does not answer.
    """
    if not environment.settings.archiving:
        return [Check(PROCESS, Status.PASS, "WAL_ARCHIVE is off: there is no going back by time")]
    seen = _seen(environment)
    found = [_process(environment, seen), *([_slot(seen)] if seen else []), _room(environment.settings.backups)]
    found += _tablespaces(environment) if seen else []
    return [*found, _look(environment).holes()] if environment.state.part else found


def _look(environment: Environment) -> Overview:
    archive = base.archive_of(environment)
    return Overview(environment, archive, base.bases(archive))


class Overview:
    """What the names of the files say of the line of descent that is being written."""

    def __init__(self, environment: Environment, archive: Archive, bases: Sequence[Base]) -> None:
        self.archive = archive
        self.parts: list[Part] = self.archive.parts()
        self.stored: list[Stored] = [one for part in self.parts for one in self.archive.segments(part.name)]
        self.chain = Chain(self.stored, self._histories(), _Unread())
        newest = max((one.segment for one in self.stored if one.part == environment.state.part), default=None)
        self.end = newest.end if newest else 0
        self.descent: Descent = self.chain.descent(newest.timeline if newest else 1)
        sound = [one for one in bases if not one.damage]
        self.bases = [one for one in sound if self.descent.holds(one.timeline, one.stop) and one.stop <= self.end]

    def window(self, *, receiving: bool) -> Check:
        """Since when any moment can be restored; and until when, where nothing is received."""
        first = next((one for one in self.bases if self._reaches_the_end(one)), None)
        if first is None and not self.bases:
            return Check(WINDOW, Status.PASS, "no moment can be restored before there is a base backup")
        if first is None:
            return Check(
                WINDOW, Status.WARN, "of what was written last no moment can be restored: WAL is missing", ANEW
            )
        since = f"any moment since {_shown(first.stopped)}"
        if receiving:
            return Check(WINDOW, Status.PASS, since)
        return Check(WINDOW, Status.WARN, f"{since} and until {_shown(self._newest())}", "invoke up")

    def holes(self) -> Check:
        """Pieces of WAL that are missing between the oldest base backup and now."""
        known = [part for part in self.parts if part.hole]
        told = []
        for begin, end in self._gaps():
            part = next((part for part in known if begin < parse_lsn(part.start) <= end), None)
            if part:
                told.append(f"before part {part.name} of {part.begun}, because {part.reason}")
            else:
                told.append(f"from {format_lsn(begin)} to {format_lsn(end)}, which somebody took away")
        if not told:
            return Check(HOLES, Status.PASS, NONE)
        # A base backup after the last one begins anew.
        mended = any(self._reaches_the_end(one) for one in self.bases)
        detail = f"WAL is missing {'; '.join(told)}"
        return Check(HOLES, Status.PASS if mended else Status.WARN, detail, "" if mended else ANEW)

    def _reaches_the_end(self, one: Base) -> bool:
        return self.chain.extent(self.descent, one.stop, self.end) == self.end

    def _gaps(self) -> Iterator[tuple[int, int]]:
        at = self.bases[0].stop if self.bases else self.end
        while (at := self.chain.extent(self.descent, at, self.end)) < self.end:
            starts = [one.segment.start for one in self.stored if self.descent.holds(*_begin(one))]
            end = min((start for start in starts if start > at), default=self.end)
            yield at, end
            at = end

    def _newest(self) -> datetime:
        return datetime.fromtimestamp(max(one.path.stat().st_mtime for one in self.stored), UTC)

    def _histories(self) -> dict[int, list[str]]:
        """Those that are there unpacked, as all of the part that is being written are."""
        found = self.archive.histories().items()
        return {
            timeline: [path.read_text(encoding="utf-8") for path in paths if HISTORY.fullmatch(path.name)]
            for timeline, paths in found
        }


class _Unread:
    """No file is read for a glance."""

    def read(self, stored: Stored) -> bytes:
        raise DrydockError(f"{stored.path} is not read for this.")


def _begin(stored: Stored) -> tuple[int, int]:
    return stored.segment.timeline, stored.segment.start


def _backups(environment: Environment, archive: Archive, bases: Sequence[Base]) -> Check:
    """None may be missing but while one is being taken, or is about to be."""
    doing = attendant.look(environment.settings)
    ours = [one for one in bases if one.part == environment.state.part]
    if doing and doing.step in {attendant.COPYING, attendant.PROVING}:
        return Check(BASE, Status.PASS, str(doing))
    trouble = f": {doing.detail}" if doing and doing.step in {attendant.FAILED, attendant.ENDED} else ""
    if not ours:
        begun = doing is not None and doing.working
        return Check(BASE, Status.PASS if begun else Status.WARN, f"none yet{trouble}", "" if begun else MAKE)
    newest = ours[-1]
    if newest.damage:
        return Check(BASE, Status.WARN, f"{newest.name} is damaged: {newest.damage.rstrip('.')}{trouble}", MAKE)
    told = f"{newest.name}, {size(newest.manifest.size)}, and {size(base.since(archive, newest))} of WAL since"
    if newest.proof or (newest.manifest.recipients and not environment.settings.identity):
        return Check(BASE, Status.PASS, f"{told}{'' if newest.proof else '; BACKUP_IDENTITY is not set to prove it'}")
    return Check(BASE, Status.WARN, f"{told}, unproven{trouble}", MAKE)


def _shown(moment: datetime) -> str:
    return moment.astimezone().isoformat(sep=" ", timespec="seconds")


def _seen(environment: Environment) -> Progress | None:
    """From the server's side; a server that does not answer has been told of."""
    try:
        return progress.look(environment)
    except DrydockError:
        return None


def _process(environment: Environment, seen: Progress | None) -> Check:
    """The program tries for ever to connect again, whatever is wrong: that it runs does not say that it works."""
    state = environment.engine.archiver()
    idle = seen is not None and not seen.connected
    if state.running and not idle:
        return Check(PROCESS, Status.PASS, f"{state.detail}{f', {state.health}' if state.health else ''}")
    code = "" if state.exit_code is None else f" with exit code {state.exit_code}"
    doing = "running, but not connected" if state.running else f"{state.status}{code}"
    said = "" if state.status == "absent" else _complaints(environment.engine.logs(ARCHIVER, lines=WORDS))
    return Check(PROCESS, Status.WARN, f"{doing}{f'; it said: {said}' if said else ''}", "invoke up")


def _complaints(lines: Iterable[str]) -> str:
    """What last went wrong, each sentence once: one that follows from another hides it. Else the last words."""
    last = [line.strip() for line in lines]
    errors = list(dict.fromkeys(line for line in last if "error: " in line))
    return "; ".join(errors or last[-1:])


def _slot(seen: Progress) -> Check:
    """What the server keeps for the archiver: it fills the disk where nobody fetches it, up to a limit."""
    kept = f"{seen.slot or 'gone'}, {size(seen.lag)} wait for the archiver"
    if seen.slot == "reserved" and seen.lag < FORGOTTEN:
        return Check(SLOT, Status.PASS, kept)
    fix = "invoke up; beyond max_slot_wal_keep_size (4 GB) the server gives it up, and a new part begins"
    return Check(SLOT, Status.WARN, kept, fix)


def _tablespaces(environment: Environment) -> list[Check]:
    """Nothing is said where there are none."""
    try:
        with wire.connect(environment, environment.superuser, SUPERUSER, timeout=ASKING) as session:
            names = [str(name) for (name,) in session.query(tablespaces.QUERY)]
    except (OSError, DrydockError) as error:
        return [Check(SPACES, Status.WARN, f"not known: {str(error).rstrip('.')}", "invoke doctor")]
    problem = tablespaces.problem(names)
    return [Check(SPACES, Status.WARN, problem.message.rstrip("."), problem.hint)] if problem else []


def _room(folder: Path) -> Check:
    existing = next(path for path in (folder, *folder.parents) if path.is_dir())
    free = shutil.disk_usage(existing).free
    little = free < LITTLE
    fix = "Make room, or lower RECOVERY_DISK and RECOVERY_WINDOW in .env." if little else ""
    return Check(ROOM, Status.WARN if little else Status.PASS, f"{free / 1e9:.1f} GB free at {existing}", fix)
