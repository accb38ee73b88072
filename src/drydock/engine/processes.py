"""Server processes: launched to outlive the task, found again by their data folder, and ended without guessing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from drydock.engine.process_table import adopt, collect, exit_code, inside, look, wait_ended, works_in
from drydock.errors import EngineError, word
from drydock.files import write_atomic
from drydock.settings import child_environment

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

STOP_TIMEOUT = 60.0  # seconds for a shutdown checkpoint; the same as the containers' stop_grace_period
LOG_LIMIT = 10 << 20  # bytes
# How to end processes whose server is gone, and how many seconds each way gets. SIGINT cancels what a Postgres
# process is doing, whereupon it notices that its postmaster is dead; SIGQUIT ends it at once.
INSISTENCE = ((signal.SIGINT, 10.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))
# For a server whose data goes with it: no checkpoint, which fails where the data has gone already.
AT_ONCE = INSISTENCE[1:]
AS_USER = "Run drydock as an ordinary user, or use the docker engine."


@dataclass(frozen=True)
class Launch:
    """What is written down of a launch: the process, its volume, and a hash of what it was started with.

    The volume is a name, or a path where it is not among the checkout's volumes.
    """

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


def end_all(folder: Path, ways: Sequence[tuple[signal.Signals, float]] = INSISTENCE) -> int:
    """End every server process that works in `folder`, ever less politely; returns how many there were.

    Args:
        folder: also of processes whose folder was removed under them.
        ways: signals, and how many seconds each gets.

    Raises:
        EngineError: where one survives SIGKILL (it hangs in the kernel).
    """
    first = inside(folder)
    for kind, seconds in ways:
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
        known: tells the last launch's process by another sign, where it does not work in its volume.
    """

    def __init__(
        self, service: str, folder: Path, pid_file: str, known: Callable[[int], bool] = lambda _pid: False
    ) -> None:
        self.service = service
        self.log = folder / "logs" / f"{service}.log"
        self._volumes = folder / "volumes"
        self._record = folder / "run" / f"{service}.json"
        self._pid_file = pid_file
        self._known = known

    def launched(self) -> Launch | None:
        """What the last launch wrote down; None after a clean stop, or where the note is unreadable."""
        try:
            return Launch(**json.loads(self._record.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def pid(self, volume: Path) -> int | None:
        """The server's process, proven to work in the launched volume or in `volume`, or `known`."""
        launch = self.launched()
        for folder in map(os.path.realpath, dict.fromkeys((self._folder(launch, volume), volume))):
            candidates = (launch.pid if launch else 0, read_pid(Path(folder) / self._pid_file))
            found = next((pid for pid in candidates if pid and works_in(pid, folder)), None)
            if found:
                return found
        return launch.pid if launch and self._known(launch.pid) else None

    def status(self, volume: Path) -> tuple[str, int | None, int | None]:
        """`running`, `paused`, `exited` or `absent`; the process, where there is one; the exit code, where known."""
        pid = self.pid(volume)
        seen = look(pid) if pid else None
        if seen:
            return ("paused" if seen.paused else "running"), pid, None
        launch = self.launched()
        if launch is None:
            return "absent", None, None
        return "exited", None, exit_code(launch.pid)

    def launch(
        self, command: Sequence[str], volume: Path, *, started_with: str, variables: Mapping[str, str] | None = None
    ) -> None:
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
                env=clean_environment({"LC_ALL": "C", **(variables or {})}),
            )
        finally:
            os.close(output)
        adopt(process)
        name = volume.name if volume.parent == self._volumes else str(volume)
        launch = Launch(process.pid, name, started_with)
        write_atomic(self._record, json.dumps(asdict(launch)) + "\n")

    def resume(self, volume: Path) -> None:
        """Let a paused server go on."""
        for pid in {*inside(volume), self.pid(volume)}:
            if pid:
                _signal(pid, signal.SIGCONT)

    def stop(self, volume: Path, kind: signal.Signals) -> bool:
        """End the server with `kind` and wait until it is gone; False where nothing ran.

        Raises:
            EngineError: where it has not ended after STOP_TIMEOUT.
        """
        launch, pid = self.launched(), self.pid(volume)
        folder = self._folder(launch, volume)
        if pid:
            _signal(pid, kind)
            self.resume(folder)
            if not wait_ended(pid, STOP_TIMEOUT):
                raise EngineError(
                    f"{self.service} (process {pid}) has not ended after {STOP_TIMEOUT:.0f} s.",
                    hint=f"See what it does: tail {word(self.log)}",
                )
        left = end_all(folder)
        self.forget()
        return bool(pid or left)

    def _folder(self, launch: Launch | None, volume: Path) -> Path:
        return self._volumes / launch.volume if launch else volume

    def forget(self) -> None:
        """Remove the note of the last launch, and collect its process where that was our own child."""
        launch = self.launched()
        if launch:
            collect(launch.pid)
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


def _signal(pid: int, kind: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, kind)
        # A stopped process acts on a signal only once it goes on.
        os.kill(pid, signal.SIGCONT)
