"""launchd: an agent of the user's (launchd.plist(5)). What is missed asleep runs on waking; all run at login."""

from __future__ import annotations

import os
import plistlib
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from drydock.backup.scheduling.schedulers import refuse_unprintable
from drydock.errors import EngineError
from drydock.files import write_atomic

if TYPE_CHECKING:
    from drydock.backup.scheduling.schedulers import Job


class Launchd:
    """`launchctl` in the domain of the user who is logged in."""

    name = "launchd"

    def problem(self) -> str:
        """Why it cannot be used here."""
        return "" if sys.platform == "darwin" else "launchd is macOS's."

    def caution(self) -> None:
        """Agents run while the user is logged in, as does nearly everything on a Mac."""

    def install(self, job: Job) -> None:
        """Write the agent and load it."""
        refuse_unprintable(job)
        path = _path(job.checkout)
        path.parent.mkdir(parents=True, exist_ok=True)
        if self.has(job.checkout):
            _launchctl("bootout", f"{_domain()}/{_label(job.checkout)}")
        write_atomic(path, agent(job), mode=0o644)
        _must("bootstrap", _domain(), str(path))

    def remove(self, checkout: str) -> bool:
        """Unload the agent and remove its file."""
        had = self.has(checkout)
        if had:
            # It fails where the agent is not loaded, which is what is wanted.
            _launchctl("bootout", f"{_domain()}/{_label(checkout)}")
            _path(checkout).unlink()
        return had

    def has(self, checkout: str) -> bool:
        """True where the agent's file is there."""
        return _path(checkout).exists()


def agent(job: Job) -> str:
    """The property list; a calendar interval that names the minute alone comes every hour."""
    content = {
        "Label": _label(job.checkout),
        "ProgramArguments": ["/bin/sh", "-c", 'test ! -f "$0" || exec /bin/sh "$0"', str(job.script)],
        "StartCalendarInterval": {"Minute": job.minute},
        "RunAtLoad": True,
        "ProcessType": "Background",
    }
    return plistlib.dumps(content).decode()


def _label(checkout: str) -> str:
    return f"drydock.backup.{checkout}"


def _path(checkout: str) -> Path:
    return Path.home() / "Library" / "LaunchAgents" / f"{_label(checkout)}.plist"


def _domain() -> str:
    return f"gui/{os.getuid()}"


def _launchctl(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["launchctl", *words], capture_output=True, check=False, text=True)


def _must(*words: str) -> None:
    done = _launchctl(*words)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1].rstrip(".")
        raise EngineError(f"`launchctl {' '.join(words)}` failed: {said}.", hint="launchctl list")
