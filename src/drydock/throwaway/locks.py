"""Who uses a throwaway server, and who may start or stop it: two files of flock(2), which end with their holders."""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Locks:
    """The locks of one throwaway server. They lie beside its folder, because they outlive it.

    Args:
        folder: the server's own.
    """

    def __init__(self, folder: Path) -> None:
        self._door = folder.with_name(f"{folder.name}.lock")
        self._users = folder.with_name(f"{folder.name}.users")

    def prepare(self) -> None:
        """Make the files. Nothing else does: a keeper must not bring back what was removed with its checkout."""
        self._door.touch(mode=0o600)
        self._users.touch(mode=0o600)

    @contextmanager
    def door(self) -> Iterator[None]:
        """Hold what every start, stop and build is done under; waits for as long as another process holds it."""
        with self._door.open("r+") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    def join(self) -> Lease:
        """Count as a user until the lease is released or this process ends. Call it at the door."""
        handle = os.open(self._users, os.O_RDWR)
        fcntl.flock(handle, fcntl.LOCK_SH)
        os.utime(self._users)
        return Lease(handle, self._users)

    def unused(self) -> bool:
        """True where no process uses the server. Call it at the door, where nobody can join meanwhile."""
        with self._users.open("r+") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

    def last_used(self) -> float:
        """When a process last began or ended to use the server, in seconds of the epoch."""
        return self._users.stat().st_mtime


class Lease:
    """One process's use of a server."""

    def __init__(self, handle: int, path: Path) -> None:
        self._handle = handle
        self._path = path

    def release(self) -> None:
        """Stop counting as a user."""
        os.utime(self._path)
        os.close(self._handle)
