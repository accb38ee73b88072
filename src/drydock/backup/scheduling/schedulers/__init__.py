"""What starts a program every hour on this machine: cron, a systemd user timer or launchd.

All three start the same script at the same minute of every hour and when they start themselves; drydock then decides
whether a backup is due. So a missed night is made up for within the hour, with any of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from drydock.errors import EngineError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True)
class Job:
    """What is to be started.

    Attributes:
        checkout: the checkout's identity; each has at most one job.
        root: the checkout, for people who read the entry.
        script: for /bin/sh; once it is gone, nothing must be started, and nothing said.
        minute: of every hour.
    """

    checkout: str
    root: Path
    script: Path
    minute: int = 0


class Scheduler(Protocol):
    """One way to start a job. All methods may raise EngineError with what the system said."""

    name: str

    def problem(self) -> str:
        """Why it cannot be used here, as one sentence; empty where it can."""
        ...

    def caution(self) -> tuple[str, str] | None:
        """What keeps its jobs from being started for now, and the command that helps; None where nothing does."""
        ...

    def install(self, job: Job) -> None:
        """Have the job started from now on; replaces the one there was. Read back before it returns."""
        ...

    def remove(self, checkout: str) -> bool:
        """Take the checkout's job away and nothing else; False where there was none."""
        ...

    def has(self, checkout: str) -> bool:
        """True where the checkout's job is installed."""
        ...


def known() -> Mapping[str, Scheduler]:
    """Every scheduler by name, in the order in which they are preferred."""
    from drydock.backup.scheduling.schedulers.cron import Cron
    from drydock.backup.scheduling.schedulers.launchd import Launchd
    from drydock.backup.scheduling.schedulers.systemd import Systemd

    return {scheduler.name: scheduler for scheduler in (Launchd(), Systemd(), Cron())}


def choose(wanted: str) -> Scheduler:
    """The scheduler called `wanted`, or with `auto` the first that can be used.

    Raises:
        EngineError: where it, or any, cannot be used here.
    """
    problems = {}
    for name, scheduler in known().items():
        if wanted not in {"auto", name}:
            continue
        problems[name] = scheduler.problem()
        if not problems[name]:
            return scheduler
    told = " ".join(problems.values())
    raise EngineError(
        f"Nothing here can start backups by itself. {told}", hint="Install cron, or call `invoke backup` yourself."
    )


def refuse_unprintable(job: Job) -> None:
    """Stop where the path cannot stand in a scheduler's file.

    Raises:
        SettingsError: for paths with control characters, and for backslashes, which crons read differently.
    """
    if not str(job.script).isprintable() or "\\" in str(job.script):
        raise SettingsError(
            f"No schedule can be made for {str(job.root)!r}: its path has a backslash or an unprintable character.",
            hint="Move the checkout.",
        )
