"""Pipes between programs: how much they hold, and whether a stream is one."""

from __future__ import annotations

import fcntl
import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import IO, BinaryIO

SIZE = 1 << 20  # bytes; Linux allows every user as much (pipe(7))


def enlarge(stream: IO[bytes]) -> None:
    """Let a pipe hold more, so that both its ends work at the same time; where the system lets us."""
    resize = getattr(fcntl, "F_SETPIPE_SZ", None)
    if resize is not None:
        with suppress(OSError):
            fcntl.fcntl(stream.fileno(), resize, SIZE)


def descriptor(stream: BinaryIO) -> int | None:
    """The descriptor of a pipe that nothing has been read from, for another program; None of any other stream."""
    try:
        found = stream.fileno()
    except OSError:
        return None
    return found if stat.S_ISFIFO(os.fstat(found).st_mode) else None
