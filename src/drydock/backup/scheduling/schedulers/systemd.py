"""systemd: a timer of the user's own service manager (systemd.timer(5)), where one is running."""

from __future__ import annotations

import getpass
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from drydock.backup.scheduling.schedulers import refuse_unprintable
from drydock.errors import EngineError
from drydock.files import write_atomic
from drydock.settings import child_environment

if TYPE_CHECKING:
    from drydock.backup.scheduling.schedulers import Job


class Systemd:
    """`systemctl --user`."""

    name = "systemd"

    def problem(self) -> str:
        """Why it cannot be used here."""
        if shutil.which("systemctl") and _systemctl("show-environment").returncode == 0:
            return ""
        return "No systemd user session answers."

    def caution(self) -> tuple[str, str] | None:
        """A user's manager ends with the last session, unless it may linger (loginctl(1))."""
        user = getpass.getuser()
        if Path("/var/lib/systemd/linger", user).exists():
            return None
        return "timers run only while you are logged in", f"loginctl enable-linger {user}"

    def install(self, job: Job) -> None:
        """Write the timer and its service, and start it."""
        refuse_unprintable(job)
        folder = _folder()
        folder.mkdir(parents=True, exist_ok=True)
        for suffix, text in units(job).items():
            write_atomic(folder / f"{_unit(job.checkout)}.{suffix}", text, mode=0o644)
        _must("daemon-reload")
        _must("enable", "--now", f"{_unit(job.checkout)}.timer")
        _must("is-active", f"{_unit(job.checkout)}.timer")

    def remove(self, checkout: str) -> bool:
        """Stop the timer and remove both files."""
        had = self.has(checkout)
        if had:
            _must("disable", "--now", f"{_unit(checkout)}.timer")
            for suffix in ("timer", "service"):
                (_folder() / f"{_unit(checkout)}.{suffix}").unlink(missing_ok=True)
            _must("daemon-reload")
        return had

    def has(self, checkout: str) -> bool:
        """True where the timer's file is there."""
        return (_folder() / f"{_unit(checkout)}.timer").exists()


def units(job: Job) -> dict[str, str]:
    """The text of each unit by its suffix. Persistent= makes up for what was missed while nobody was logged in."""
    title = f"drydock: backups of {job.root}".replace("%", "%%")
    return {
        "timer": (
            f"[Unit]\nDescription={title}\n\n"
            f"[Timer]\nOnCalendar=*-*-* *:{job.minute:02}:00\nPersistent=true\n\n"
            "[Install]\nWantedBy=timers.target\n"
        ),
        "service": (
            f"[Unit]\nDescription={title}\n\n"
            "[Service]\nType=oneshot\n"
            f'ExecStart=/bin/sh -c "test ! -f \\"$$0\\" || exec /bin/sh \\"$$0\\"" {_quoted(str(job.script))}\n'
        ),
    }


def _quoted(text: str) -> str:
    """An argument as systemd.service(5) reads it: specifiers begin with %, variables with $."""
    for special, escaped in (("\\", "\\\\"), ('"', '\\"'), ("%", "%%"), ("$", "$$")):
        text = text.replace(special, escaped)
    return f'"{text}"'


def _unit(checkout: str) -> str:
    return f"drydock-backup-{checkout}"


def _folder() -> Path:
    home = child_environment({}).get("XDG_CONFIG_HOME")
    return (Path(home) if home else Path.home() / ".config") / "systemd" / "user"


def _systemctl(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemctl", "--user", *words], capture_output=True, check=False, text=True)


def _must(*words: str) -> None:
    done = _systemctl(*words)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1].rstrip(".")
        raise EngineError(f"`systemctl --user {' '.join(words)}` failed: {said}.", hint="systemctl --user list-timers")
