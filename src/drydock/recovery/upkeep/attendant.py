"""The attendant: a process that looks after the archive while nobody waits for it, and ends when all is done.

It seals, takes a base backup when one is due, proves it, and removes what no restore will need. Tasks that may have
given it something to do start it. One works at a time; a second one waits, a third finds that one waiting, and goes.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from drydock.errors import DrydockError
from drydock.files import write_atomic
from drydock.settings import child_environment, load

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drydock.environment import Environment
    from drydock.recovery.archive.folders import Archive
    from drydock.settings import Settings

LOCK, NEXT, NOTE = "attendant.lock", "attendant.next", "attendant.json"
NEW = "attendant.new"  # locked for one that was started, by an open file that it inherits, until its first own note
LOG, OUTPUT = "attendant.log", "attendant.out"  # what it did, and what Python said last
NICENESS = 5
PILE = 4  # finished segments that are not sealed; one always is not
NOTED = 0.3  # seconds between two notes of how far it is
PATIENCE = 10.0  # seconds that it gets to end by itself
POLL = 0.02
INHERITED, ABOVE = 3, 10  # the handle of NEW in the new process; handles that nothing there is opened as
STARTING, SEALING, COPYING, PROVING, EXPIRING = (
    "starting",
    "sealing",
    "taking a base backup",
    "verifying the base backup",
    "expiring",
)
DONE, FAILED, ENDED = "done", "failed", "ended"


@dataclass(frozen=True)
class Doing:
    """What the attendant does, or came to.

    Attributes:
        step: what it is at; `done`, `failed`, or `ended` where it was ended before its time.
        since: when that began, UTC, ISO 8601.
        done: bytes, in a step that is counted.
        total: how many there are about; 0 in others.
        detail: what failed.
        pid: its process.
    """

    step: str
    since: str
    done: int = 0
    total: int = 0
    detail: str = ""
    pid: int = 0

    @property
    def working(self) -> bool:
        """True while it works."""
        return self.step not in {DONE, FAILED, ENDED}

    def __str__(self) -> str:
        """For people."""
        return f"{self.step}, {min(99, 100 * self.done // self.total)} %" if self.total else self.step


def spawn(environment: Environment) -> None:
    """Start an attendant, in a session of its own; nothing where the WAL is not archived.

    Where one was started that has not begun yet, that one will find what there is to do.
    """
    settings = environment.settings
    if not settings.archiving or not environment.state.part:
        return
    (settings.folder / "logs").mkdir(mode=0o700, exist_ok=True)
    with (settings.folder / NEW).open("a+", encoding="utf-8") as lock, suppress(BlockingIOError):
        fcntl.flock(lock.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(lock.fileno(), 0)
        os.pwrite(lock.fileno(), f"{_launch(settings, lock.fileno())}\n".encode(), 0)


def _launch(settings: Settings, lock: int) -> int:
    """Start the process, which inherits the lock; returns its number.

    Not with subprocess, whose Popen complains when it is dropped while its process lives on.
    """
    # -P: nothing in the folder that the task runs in may stand in for a module of ours.
    command = [sys.executable, "-P", "-m", __name__, str(settings.root), str(INHERITED)]
    lock = fcntl.fcntl(lock, fcntl.F_DUPFD_CLOEXEC, ABOVE)
    files = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(settings.folder / "logs" / OUTPUT), os.O_WRONLY | os.O_TRUNC | os.O_CREAT, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
        # The lock of the task that starts it ends with that task.
        *((os.POSIX_SPAWN_CLOSE, handle) for handle in _inheritable()),
        (os.POSIX_SPAWN_DUP2, lock, INHERITED),
    ]
    try:
        return os.posix_spawn(sys.executable, command, child_environment({}), file_actions=files, setsid=True)
    finally:
        os.close(lock)


def nudge(environment: Environment) -> None:
    """Start one where finished segments piled up: a cheap look at the end of every task that changes something."""
    from drydock.recovery.archive.folders import part_folder
    from drydock.recovery.wal.positions import NAME

    state = environment.state
    if not environment.settings.archiving or not state.part or not state.started_with:
        return
    with suppress(FileNotFoundError):
        waiting = sum(1 for entry in os.scandir(part_folder(environment)) if NAME.fullmatch(entry.name))
        if waiting >= PILE:
            spawn(environment)


def _inheritable() -> list[int]:
    """The open files, beside the standard ones, that a program which is started would have open as well."""
    found = []
    for name in os.listdir("/dev/fd"):  # noqa: PTH208 - names are all there is to them
        with suppress(OSError):  # the one by which the folder was read is closed by now
            if int(name) > 2 and os.get_inheritable(int(name)):  # noqa: PLR2004 - stderr
                found.append(int(name))
    return found


def look(settings: Settings) -> Doing | None:
    """What it does, or came to when it last ended; None where it never ran."""
    noted = _noted(settings)
    if noted and noted.working and not _is_free(settings.folder / LOCK):
        return noted
    if not _is_free(settings.folder / NEW):
        return _starting(settings.folder / NEW)
    if noted and noted.working:
        return replace(noted, step=ENDED, total=0, detail=f"it was ended while {noted.step}")
    return noted


def _noted(settings: Settings) -> Doing | None:
    """What one last said of itself."""
    try:
        return Doing(**json.loads((settings.folder / NOTE).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def _starting(path: Path) -> Doing:
    """One that has not said anything of itself yet: who started it wrote down which it is."""
    since, pid = datetime.fromtimestamp(path.stat().st_mtime, UTC), path.read_text(encoding="utf-8").strip()
    return Doing(STARTING, since.isoformat(timespec="seconds"), pid=int(pid or 0))


def unfinished(settings: Settings) -> bool:
    """True where the last one did not come to its end: a cheap look, for tasks that would not start one otherwise."""
    doing = look(settings)
    return doing is None or doing.step in {FAILED, ENDED}


def stop(settings: Settings) -> bool:
    """End those that work, wait or are starting, with all that they started; False where there was none.

    What it was at is removed, as after a kill, by the next one.
    """
    names = [name for name in (NEW, NEXT, LOCK) if not _is_free(settings.folder / name)]
    for name in names:
        _end(settings.folder / name)
    return bool(names)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold what only one process may: to look after the archive. Waits for as long as another one does."""
    with (folder / LOCK).open("a+", encoding="utf-8") as handle:
        _hold(handle.fileno(), wait=True)
        yield


def attend(environment: Environment) -> None:
    """Do everything there is to do.

    Raises:
        DrydockError, OSError: where something fails; what comes after it was not done.
    """
    from drydock import readiness
    from drydock.recovery.bases import base, copying, proof
    from drydock.recovery.history import relations
    from drydock.recovery.upkeep import sealing

    settings, archive = environment.settings, base.archive_of(environment)
    notes = Notes(settings)
    _expire(environment, archive, notes)  # what follows may want the room
    notes.step(SEALING)
    for path, reason in sealing.seal(settings, archive, writing=environment.state.part).refused.items():
        notes.say(f"{path} is not sealed: {reason}")
    up = readiness.postgres_up(environment).passed
    if up:
        relations.keep_if_possible(environment, archive)
    if up and (reason := base.due(environment)):
        notes.step(COPYING)
        now = datetime.now(UTC)
        made = copying.take(environment, reason=reason, now=now, progress=lambda _, *counts: notes.count(*counts))
        notes.say(f"took the base backup {made.name} ({reason}) in {made.manifest.seconds:.1f} s")
    newest = next(reversed(base.bases(archive)), None)
    if newest and newest.proof is None and (settings.identity or not newest.manifest.recipients):
        notes.step(PROVING)
        proof.verify(environment, newest, now=datetime.now(UTC))
        notes.say(f"proved {newest.name}")
    sealing.seal(settings, archive, writing=environment.state.part)
    _expire(environment, archive, notes)
    notes.step(DONE)


def _expire(environment: Environment, archive: Archive, notes: Notes) -> None:
    from drydock.recovery.upkeep import retention

    notes.step(EXPIRING)
    gone = retention.expire(environment.settings, archive, writing=environment.state.part, now=datetime.now(UTC))
    if gone.bases or gone.segments:
        notes.say(f"removed {len(gone.bases)} base backups and {len(gone.segments)} segments")


class Notes:
    """What the attendant says of itself: a note for `status`, and a log."""

    def __init__(self, settings: Settings) -> None:
        self._path = settings.folder / NOTE
        self._log = settings.folder / "logs" / LOG
        self._doing = Doing("", "", pid=os.getpid())
        self._written = 0.0

    def step(self, step: str, detail: str = "") -> None:
        """Something else begins."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        self._write(replace(self._doing, step=step, since=now, detail=detail, done=0, total=0))

    def count(self, done: int, total: int) -> None:
        """How far the step is."""
        if time.monotonic() - self._written > NOTED:
            self._write(replace(self._doing, done=done, total=total))

    def say(self, text: str) -> None:
        """A line in the log."""
        from drydock.backup.scheduling.scheduled import append  # `status` loads this module too, and writes nothing

        stamp = datetime.now().astimezone().isoformat(timespec="seconds")
        append(self._log, f"{stamp} {' '.join(text.split())}\n")

    def _write(self, doing: Doing) -> None:
        self._doing, self._written = doing, time.monotonic()
        write_atomic(self._path, json.dumps(asdict(doing)) + "\n", durable=False)


def run(root: Path, inherited: int | None = None) -> None:
    """Be the attendant of a checkout: wait for the one before, work, write down what came of it.

    Args:
        root: of the checkout.
        inherited: an open file by which who started it said that it is starting; closed when it says so itself.
    """
    settings = load(root)
    with (settings.folder / NEXT).open("a+", encoding="utf-8") as waiting:
        if not _hold(waiting.fileno(), wait=False):
            return  # somebody waits already, and will find what we would
        with (settings.folder / LOCK).open("a+", encoding="utf-8") as handle:
            _hold(handle.fileno(), wait=True)
            fcntl.flock(waiting.fileno(), fcntl.LOCK_UN)
            notes = Notes(settings)
            notes.step(STARTING)
            if inherited is not None:
                os.close(inherited)
            _try(root, settings, notes)


def _try(root: Path, settings: Settings, notes: Notes) -> None:
    from drydock.environment import open_existing

    try:
        attend(open_existing(root))
    except (DrydockError, OSError) as error:
        notes.say(f"failed: {error}")
        notes.step(FAILED, str(error))
    except Exception:
        notes.step(FAILED, f"unexpectedly: see {settings.folder / 'logs' / OUTPUT}")
        raise


def _hold(handle: int, *, wait: bool) -> bool:
    """Hold flock(2) on an open file, and write into it who does; False where somebody else does."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    os.ftruncate(handle, 0)
    os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
    return True


def _is_free(path: Path) -> bool:
    """True where nobody holds a lock. Asked with a shared one, which lets others ask at the same time."""
    try:
        with path.open("rb") as handle:
            fcntl.flock(handle.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)
            return True
    except BlockingIOError:
        return False
    except FileNotFoundError:
        return True


def _end(path: Path) -> None:
    """End the process that holds a lock, and all of its session, politely first."""
    for kind in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ValueError, OSError):
            pid = int(path.read_text(encoding="utf-8"))
            if os.getsid(pid) == pid:  # it leads its session; a task that holds the lock is left to end by itself
                os.killpg(pid, kind)
        deadline = time.monotonic() + PATIENCE
        while not _is_free(path):
            if time.monotonic() > deadline:
                break
            time.sleep(POLL)  # flock has no timed wait, and its holder is no child of ours
        else:
            return


def _clean_up(number: int, _frame: object) -> None:
    """An end on request removes what is half done, as Ctrl-C does."""
    raise SystemExit(128 + number)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _clean_up)
    os.nice(NICENESS)
    with suppress(FileNotFoundError):  # the checkout was removed meanwhile
        run(Path(sys.argv[1]), *map(int, sys.argv[2:]))
