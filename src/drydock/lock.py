"""One drydock task at a time may change a checkout's environment; the others wait, and say for whom."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from drydock.errors import BusyError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

FIRST_POLL, LAST_POLL = 0.05, 0.5


@contextmanager
def locked(folder: Path, task: str, *, timeout: float, report: Callable[[str], None]) -> Iterator[None]:
    """Hold the checkout's lock while the body runs.

    The lock is flock(2) on an open file: it ends with its holder, also by SIGKILL, so it is never stale. A child
    that is given the open file (`close_fds=False`) holds it too: what a killed task left at work keeps others out.

    Args:
        folder: the checkout's .drydock.
        task: what to tell those who wait.
        timeout: seconds to wait for another holder.
        report: takes one line, once, when there is a wait.

    Raises:
        BusyError: where another task still holds it after `timeout`.
    """
    with (folder / "lock").open("a+", encoding="utf-8") as handle:
        _acquire(handle.fileno(), folder, timeout, report)
        os.set_inheritable(handle.fileno(), True)  # noqa: FBT003 - the function takes it by position only
        handle.truncate(0)
        handle.write(f"invoke {task}, process {os.getpid()}")
        handle.flush()
        yield


def _acquire(handle: int, folder: Path, timeout: float, report: Callable[[str], None]) -> None:
    deadline, pause, told = time.monotonic() + timeout, FIRST_POLL, False
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = (folder / "lock").read_text(encoding="utf-8") or "another task"
            if time.monotonic() > deadline:
                raise BusyError(
                    f"{holder} has been busy in this checkout for {timeout:.0f} s.",
                    hint="Wait for it, or raise LOCK_TIMEOUT in .env.",
                ) from None
            if not told:
                report(f"waiting for {holder}")
                told = True
            # flock has no timed wait: SIGALRM would, but only in the main thread.
            time.sleep(pause)
            pause = min(pause * 2, LAST_POLL)
        else:
            return
