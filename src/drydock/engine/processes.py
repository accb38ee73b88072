"""Server processes: launched to outlive the task, recognised by their data folder, and ended without guessing.

A process is one of ours where it has a server's name *and* works in the server's data folder. A number in a file
proves nothing: it outlives a kill -9 and a reboot, and is given to other programs. Linux is asked through /proc,
because importing psutil takes longer (50 ms) than `invoke status` may spend; other systems through psutil.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from drydock.errors import EngineError
from drydock.files import write_atomic
from drydock.settings import child_environment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

NAMES = frozenset({"postgres", "redis-server", "initdb", "unshare"})
STOP_TIMEOUT = 60.0  # seconds for a shutdown checkpoint; the same as the containers' stop_grace_period
EXIT_TIMEOUT = 1.0  # seconds that a process which has left its folder gets to end
LOG_LIMIT = 10 << 20  # bytes
# How to end processes whose server is gone, and how many seconds each way gets. SIGINT cancels what a Postgres
# process is doing, whereupon it notices that its postmaster is dead; SIGQUIT ends it at once.
INSISTENCE = ((signal.SIGINT, 10.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))
AS_USER = "Run drydock as an ordinary user, or use the docker engine."

# Servers started by this very process. One that ends stays a zombie until its Popen is polled, and a Popen that is
# dropped while its process lives warns.
_children: dict[int, subprocess.Popen[bytes]] = {}


@dataclass(frozen=True)
class Seen:
    """A look at one live process: its name, whether it is stopped by a signal, and the folder it works in."""

    name: str
    paused: bool
    folder: str


@dataclass(frozen=True)
class Launch:
    """What is written down of a launch: the process, the name of its volume, and a hash of what it was started with."""

    pid: int
    volume: str
    started_with: str


@cache
def namespace_problem() -> str:
    """Why root cannot run the servers here, as one sentence; empty where it can, and for everybody else."""
    if os.geteuid() != 0:
        return ""
    if not shutil.which("unshare"):
        return "Postgres refuses to run as root, and `unshare` (util-linux), which gets around that, is missing."
    tried = subprocess.run([*_MAPPED, "true"], capture_output=True, check=False, text=True)
    reason = (tried.stderr.strip().splitlines() or [f"exit code {tried.returncode}"])[-1].rstrip(".")
    return (
        f"Postgres refuses to run as root, and a user namespace is not allowed here ({reason})."
        if tried.returncode
        else ""
    )


# Postgres refuses to run as root, where SQL could do anything to the machine. In a user namespace that calls root 1000
# the server has no privilege left, and to the outside its files still belong to root: nothing changes its owner.
_MAPPED = ("unshare", "--user", "--map-user=1000", "--map-group=1000", "--")


def unprivileged() -> list[str]:
    """What to put before a server's command so that it does not run as root; empty where nobody is root.

    Raises:
        EngineError: where we are root and the kernel or a container's seccomp filter refuses a user namespace.
    """
    problem = namespace_problem()
    if problem:
        raise EngineError(problem, hint=AS_USER)
    return list(_MAPPED) if os.geteuid() == 0 else []


def clean_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """This process's environment without the PG… variables, which would redirect every client, and with `extra`."""
    return {name: value for name, value in child_environment({}).items() if not name.startswith("PG")} | dict(extra)


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
    return [pid for pid in _pids() if _works_in(pid, real)]


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


def end_all(folder: Path) -> int:
    """End every server process that works in `folder`, ever less politely; returns how many there were.

    Raises:
        EngineError: where one survives SIGKILL (it hangs in the kernel).
    """
    first = inside(folder)
    for kind, seconds in INSISTENCE:
        deadline = time.monotonic() + seconds
        for pid in inside(folder):
            _signal(pid, kind)
        while (left := inside(folder)) and time.monotonic() < deadline:
            wait_ended(left[0], max(0.0, deadline - time.monotonic()))
        if not left:
            return len(first)
    raise EngineError(f"Process {left[0]} works in {folder} and cannot be ended.", hint=f"ps -fp {left[0]}")


class Server:
    """One server of this checkout.

    Args:
        service: `postgres` or `redis`.
        folder: the checkout's .drydock.
        pid_file: name of the pid file that the server itself keeps in its volume.
    """

    def __init__(self, service: str, folder: Path, pid_file: str) -> None:
        self.service = service
        self.log = folder / "logs" / f"{service}.log"
        self._volumes = folder / "volumes"
        self._record = folder / "run" / f"{service}.json"
        self._pid_file = pid_file

    def launched(self) -> Launch | None:
        """What the last launch wrote down; None after a clean stop, or where the note is unreadable."""
        try:
            return Launch(**json.loads(self._record.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def pid(self, volume: Path) -> int | None:
        """The server's process, proven to work in the launched volume, or in `volume` where no launch is known."""
        launch = self.launched()
        folder = os.path.realpath(self._volumes / launch.volume if launch else volume)
        candidates = (launch.pid if launch else 0, read_pid(Path(folder) / self._pid_file))
        return next((pid for pid in candidates if pid and _works_in(pid, folder)), None)

    def status(self, volume: Path) -> tuple[str, int | None, int | None]:
        """`running`, `paused`, `exited` or `absent`; the process, where there is one; the exit code, where known."""
        pid = self.pid(volume)
        seen = look(pid) if pid else None
        if seen:
            return ("paused" if seen.paused else "running"), pid, None
        launch = self.launched()
        if launch is None:
            return "absent", None, None
        return "exited", None, _exit_code(launch.pid)

    def launch(self, command: Sequence[str], volume: Path, *, started_with: str) -> None:
        """Start the server in its volume and write it down; returns at once.

        It gets a session of its own, so that neither Ctrl-C nor the end of the task's terminal reaches it.
        """
        rotate(self.log)
        output = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            process = subprocess.Popen(
                [*unprivileged(), *command],
                cwd=volume,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                # One language in the log, and macOS's postmaster needs a locale that asks no system service.
                env=clean_environment({"LC_ALL": "C"}),
            )
        finally:
            os.close(output)
        _children[process.pid] = process
        launch = Launch(process.pid, volume.name, started_with)
        write_atomic(self._record, json.dumps(asdict(launch)) + "\n")

    def resume(self, volume: Path) -> None:
        """Let a paused server go on."""
        for pid in inside(volume):
            _signal(pid, signal.SIGCONT)

    def stop(self, volume: Path, kind: signal.Signals) -> bool:
        """End the server with `kind` and wait until it is gone; False where nothing ran.

        Raises:
            EngineError: where it has not ended after STOP_TIMEOUT.
        """
        launch, pid = self.launched(), self.pid(volume)
        folder = self._volumes / launch.volume if launch else volume
        if pid:
            _signal(pid, kind)
            self.resume(folder)
            if not wait_ended(pid, STOP_TIMEOUT):
                raise EngineError(
                    f"{self.service} (process {pid}) has not ended after {STOP_TIMEOUT:.0f} s.",
                    hint=f"See what it does: tail '{self.log}'",
                )
        left = end_all(folder)
        self.forget()
        return bool(pid or left)

    def forget(self) -> None:
        """Remove the note of the last launch, and collect its process where that was our own child."""
        launch = self.launched()
        if launch and _exit_code(launch.pid) is not None:
            del _children[launch.pid]
        self._record.unlink(missing_ok=True)


def read_pid(path: Path) -> int:
    """The process a server's pid file names; 0 where there is no such file or it makes no sense."""
    try:
        return max(0, int(path.read_text(encoding="utf-8").split("\n", 1)[0]))
    except (OSError, ValueError):
        return 0


def rotate(log: Path) -> None:
    """Set a log of more than LOG_LIMIT bytes aside as `.1`, in place of an earlier one."""
    with suppress(FileNotFoundError):
        if log.stat().st_size > LOG_LIMIT:
            log.replace(log.with_name(f"{log.name}.1"))


def _exit_code(pid: int) -> int | None:
    """The exit code of a server that is gone, where it was our own child; negative for the signal that ended it."""
    child = _children.get(pid)
    if child is not None:
        # The kernel takes a dying process's folder away a moment before it has an exit code to hand out.
        with suppress(subprocess.TimeoutExpired):
            child.wait(EXIT_TIMEOUT)
    return child.returncode if child else None


def _works_in(pid: int, folder: str) -> bool:
    if sys.platform == "linux" and not _is_below(_folder_in_proc(pid), folder):
        return False  # the one question that nearly every process answers with no
    seen = look(pid)
    return bool(seen and seen.name in NAMES and _is_below(seen.folder, folder))


def _is_below(path: str, folder: str) -> bool:
    return f"{path}/".startswith(f"{folder}/")


def _signal(pid: int, kind: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, kind)
        # A stopped process acts on a signal only once it goes on.
        os.kill(pid, signal.SIGCONT)


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
