"""One scheduled run: is a backup due, can one be made, what came of it. A line in the log says so each time."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from drydock.backup import encryption
from drydock.backup.scheduling import automation
from drydock.backup.scheduling.schedule import is_due, last_due
from drydock.console import seconds, size
from drydock.errors import DrydockError
from drydock.files import write_atomic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime
    from pathlib import Path

    from drydock.backup.catalogue import Entry
    from drydock.backup.pruning import Pruning
    from drydock.backup.scheduling.automation import Record
    from drydock.environment import Environment
    from drydock.settings import Settings

LOG_LIMIT = 256 << 10  # bytes; the older half goes then
TRIES = 3


@dataclass(frozen=True)
class Run:
    """What a scheduled run came to: `made`, `skipped` or `failed`, and in which words."""

    outcome: str
    detail: str


def pending(settings: Settings, now: datetime) -> Record | None:
    """The schedule, where a backup is due by it and has not failed too often already."""
    record = automation.read(settings)
    if record is None or not is_due(record.parsed, record.baseline, now):
        return None
    given_up = record.due == _moment(record, now) and record.failures >= TRIES
    return None if given_up else record


@dataclass(frozen=True)
class Work:
    """What a run does, each step under the locks it needs.

    Attributes:
        make: makes a backup.
        prove: restores it beside and compares.
        prune: removes what no rule keeps.
    """

    make: Callable[[], Entry]
    prove: Callable[[Entry], object]
    prune: Callable[[], Pruning]


def attempt(environment: Environment, work: Work) -> Run:
    """Make a proven backup, and prune; nothing where Postgres is down.

    Servers that do not run are not started: nothing changes while they are down. Within the hour after they are up
    again the backup is made.
    """
    from drydock import readiness

    settings = environment.settings
    up = readiness.postgres_up(environment)
    if not up.passed:
        return Run("skipped", f"Postgres does not run ({up.detail}); the backup is made once it does")
    begun = time.monotonic()
    entry = work.make()
    assert entry.manifest is not None
    told = [entry.name, size(entry.manifest.size)]
    if encryption.sealing(settings).one_way:
        told.append("unproven, for BACKUP_IDENTITY is not set")
    else:
        work.prove(entry)
        told.append("proven")
    told.append(f"in {seconds(time.monotonic() - begun)}")
    if settings.production:
        return Run("made", ", ".join((*told, "nothing is pruned in production")))
    return Run("made", ", ".join((*told, *_pruned(work))))


def _pruned(work: Work) -> Iterator[str]:
    """What became of pruning: the backup is made, whatever that is."""
    try:
        pruned = work.prune()
    except (DrydockError, OSError) as error:
        yield f"nothing is pruned: {error}"
        return
    if pruned.removed:
        yield f"pruned {len(pruned.removed)}, {size(pruned.freed)} freed"


def conclude(settings: Settings, run: Run, now: datetime) -> None:
    """Write down what a run came to. The same reason to skip the same backup is told once."""
    record = automation.read(settings)
    if record is None:
        return
    due, result = _moment(record, now), f"{run.outcome}: {run.detail}"
    if (run.outcome, record.result, record.due) == ("skipped", result, due):
        return
    failures = (record.failures if record.due == due else 0) + (run.outcome == "failed")
    last = now.isoformat() if run.outcome == "made" else record.last
    automation.write(settings, replace(record, last=last, result=result, due=due, failures=failures))
    stamp = now.astimezone().isoformat(timespec="seconds")
    append(automation.folder(settings) / automation.LOG, f"{stamp} {' '.join(result.split())}\n")


def append(path: Path, line: str, limit: int = LOG_LIMIT) -> None:
    """Add a line to a log of mode 0600 that never grows beyond `limit` bytes: its older half is dropped then."""
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    if len((text + line).encode()) > limit:
        text = text[len(text) // 2 :].partition("\n")[2]
    write_atomic(path, text + line)


def _moment(record: Record, now: datetime) -> str:
    return last_due(record.parsed, now).isoformat()
