"""A small process beside a throwaway server that stops it when nobody has used it for long.

Users hold a lock that ends with its holder, so that a run that was killed is noticed like one that ended. The keeper
looks rather than waits for it: for the moment that it had it, it would pass for a user itself.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from drydock.settings import Settings, child_environment, load
from drydock.throwaway import identity, place
from drydock.throwaway.locks import Locks

if TYPE_CHECKING:
    from drydock.environment import Environment

KEPT = 8 * 3600.0  # seconds that a server with a failed test's database on it goes on: a working day
LOOK = 1.0  # seconds between looks at whether anybody uses the server


def spawn(environment: Environment, idle: float) -> None:
    """Start the keeper of a server that has just been started, in a session of its own.

    Not with subprocess, whose Popen complains when it is dropped while its process lives on.
    """
    settings = environment.settings
    # -P: nothing in the folder that the tests run in may stand in for a module of ours.
    facts = (settings.root, settings.engine, idle, (settings.folder / "volumes").resolve())
    command = [sys.executable, "-P", "-m", __name__, *map(str, facts)]
    log = str(settings.folder / "keeper.log")
    files = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    os.posix_spawn(sys.executable, command, child_environment({}), file_actions=files, setsid=True)


def note_kept(environment: Environment) -> None:
    """Let the server go on for longer: somebody will want to look at a database on it."""
    (environment.settings.folder / "kept").touch()


def clear(settings: Settings) -> None:
    """Stop the server and remove all that was its own. Call it at the door."""
    if settings.engine == "docker":
        identity.destroy_containers(settings)
    if settings.folder.exists():
        place.remove(settings.folder)


def retire(settings: Settings, locks: Locks, idle: float) -> bool:
    """Clear the server away where nobody uses it and its time is over."""
    with locks.door():
        if not locks.unused() or _seconds_left(settings.folder, locks, idle) > 0:
            return False
        clear(settings)
        return True


def keep(settings: Settings, idle: float, data: Path) -> None:
    """Watch until the server's time is over, and clear it away; or until it is gone or another.

    Args:
        settings: the server's.
        idle: seconds that it may go unused.
        data: where the embedded engine's data is: known when the whole checkout has been removed.
    """
    locks, ours = Locks(settings.folder), _started(settings)
    # A checkout that is being removed may lose the record and the locks before the folder; only a start writes another.
    while (started := _started(settings)) in {"", ours}:
        with suppress(FileNotFoundError):
            if started and retire(settings, locks, idle):
                return
        if not settings.folder.exists():
            place.abandon(data)
            return
        time.sleep(LOOK)


def _started(settings: Settings) -> str:
    """Which start of a server is recorded; empty where none is."""
    environment = identity.recorded(settings)
    return environment.state.started_with if environment else ""


def _seconds_left(folder: Path, locks: Locks, idle: float) -> float:
    over = locks.last_used() + idle
    kept = folder / "kept"
    if kept.exists():
        over = max(over, kept.stat().st_mtime + KEPT)
    return over - time.time()


if __name__ == "__main__":
    keep(identity.settings_for(load(Path(sys.argv[1])), sys.argv[2]), float(sys.argv[3]), Path(sys.argv[4]))
