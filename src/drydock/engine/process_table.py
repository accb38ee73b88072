"""The processes of this machine: which of them are our servers, and how one of them ends.

A process is one of ours where it has a server's name *and* works in the server's data folder. A number in a file
proves nothing: it outlives a kill -9 and a reboot, and is given to other programs. Linux is asked through /proc,
because importing psutil takes longer (50 ms) than `invoke status` may spend; other systems through psutil.
"""

from __future__ import annotations

import atexit
import os
import select
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

NAMES = frozenset({"postgres", "redis-server", "initdb", "pg_receivewal", "unshare"})
EXIT_TIMEOUT = 1.0  # seconds that a process which has left its folder gets to end

# Servers started by this very process. One that ends stays a zombie until its Popen is polled, and a Popen that is
# dropped while its process lives warns.
_children: dict[int, subprocess.Popen[bytes]] = {}


@dataclass(frozen=True)
class Seen:
    """A look at one live process: its name, whether it is stopped by a signal, and the folder it works in."""

    name: str
    paused: bool
    folder: str


def adopt(process: subprocess.Popen[bytes]) -> None:
    """Remember a server that this very process has started."""
    if not _children:
        atexit.register(_leave_behind)
    _children[process.pid] = process


def collect(pid: int) -> None:
    """Forget a server that has ended."""
    if exit_code(pid) is not None:
        del _children[pid]


def _leave_behind() -> None:
    """Servers outlive the process that started them, on purpose: spare their Popen objects the warning about it."""
    for child in _children.values():
        child.returncode = child.poll() or 0


def look(pid: int) -> Seen | None:
    """What process `pid` is; None where it has ended or belongs to somebody else."""
    return _look_in_proc(pid) if sys.platform == "linux" else _look_with_psutil(pid)


def is_taken(pid: int) -> bool:
    """True where Postgres would take `pid` for a live postmaster: it asks like this, and uncollected zombies answer."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def inside(folder: Path) -> list[int]:
    """Every server process that works in `folder` or below it."""
    real = os.path.realpath(folder)
    return [pid for pid in _pids() if works_in(pid, real)]


def wait_ended(pid: int, timeout: float) -> bool:
    """Wait for a process to end; False where it still runs after `timeout` seconds."""
    child = _children.get(pid)
    if child is not None:
        with suppress(subprocess.TimeoutExpired):
            child.wait(timeout)
            del _children[pid]
        return child.returncode is not None
    # Not psutil's wait on Linux: it takes a zombie that a container's first process never collects for a live one.
    return _wait_on_handle(pid, timeout) if sys.platform == "linux" else _wait_with_psutil(pid, timeout)


def exit_code(pid: int) -> int | None:
    """The exit code of a server that is gone, where it was our own child; negative for the signal that ended it."""
    child = _children.get(pid)
    if child is not None:
        # The kernel takes a dying process's folder away a moment before it has an exit code to hand out.
        with suppress(subprocess.TimeoutExpired):
            child.wait(EXIT_TIMEOUT)
    return child.returncode if child else None


def command_line(pid: int) -> list[str]:
    """The words that a process was started with; none where it has ended or belongs to somebody else."""
    if sys.platform != "linux":
        return _command_line_with_psutil(pid)
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8", errors="replace").split("\0")[:-1]
    except OSError:
        return []


def works_in(pid: int, folder: str) -> bool:
    """True where the process is a server that works in the folder or below it; `folder` has no symbolic links."""
    if sys.platform == "linux" and not _is_below(_folder_in_proc(pid), folder):
        return False  # the one question that nearly every process answers with no
    seen = look(pid)
    return bool(seen and seen.name in NAMES and _is_below(seen.folder, folder))


def _is_below(path: str, folder: str) -> bool:
    return f"{path}/".startswith(f"{folder}/")


def _pids() -> list[int]:
    return _pids_in_proc() if sys.platform == "linux" else _pids_with_psutil()


def _pids_in_proc() -> list[int]:
    with os.scandir("/proc") as entries:
        return [int(entry.name) for entry in entries if entry.name.isdigit()]


def _pids_with_psutil() -> list[int]:
    import psutil

    return psutil.pids()


def _folder_in_proc(pid: int) -> str:
    """Where a process works; empty where it has ended, is a zombie or belongs to somebody else."""
    try:
        return os.readlink(f"/proc/{pid}/cwd")  # noqa: PTH115 - one of some hundred calls: no Path for each
    except OSError:
        return ""


def _look_in_proc(pid: int) -> Seen | None:
    """Name and state from /proc/PID/stat (proc(5): the name is in the outermost parentheses), folder from its link."""
    child = _children.get(pid)
    folder = _folder_in_proc(pid)
    if not folder or (child is not None and child.poll() is not None):
        return None
    try:
        before, _, after = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")
        return Seen(before.partition("(")[2], after.split()[0] in "Tt", folder)
    except OSError:
        return None


def _look_with_psutil(pid: int) -> Seen | None:
    import psutil

    child = _children.get(pid)
    if child is not None and child.poll() is not None:
        return None
    try:
        process = psutil.Process(pid)
        return Seen(process.name(), process.status() == psutil.STATUS_STOPPED, process.cwd())
    except (psutil.Error, OSError):
        return None


def _command_line_with_psutil(pid: int) -> list[str]:
    import psutil

    try:
        return list(psutil.Process(pid).cmdline())
    except (psutil.Error, OSError):
        return []


def _wait_on_handle(pid: int, timeout: float) -> bool:
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        return bool(poll.poll(timeout * 1000))
    finally:
        os.close(handle)


def _wait_with_psutil(pid: int, timeout: float) -> bool:
    import psutil

    try:
        _, alive = psutil.wait_procs([psutil.Process(pid)], timeout=timeout)
    except psutil.NoSuchProcess:
        return True
    return not alive
