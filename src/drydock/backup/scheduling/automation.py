"""The schedule of one checkout: turned on and off, what is recorded of it, and the script that a scheduler starts."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from drydock.backup.scheduling.schedule import FOLDER, RECORD, Schedule, parse
from drydock.checks import Check, Status
from drydock.errors import DrydockError, word
from drydock.files import write_atomic
from drydock.settings import child_environment, variables

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drydock.environment import Environment
    from drydock.settings import Settings

CHECK = "backup:schedule"
# What a scheduler starts, what drydock writes of each run, and what the last start said by itself.
SCRIPT, LOG, OUTPUT = "scheduled.sh", "backup.log", "scheduler.log"
# How a program finds the Docker engine that this shell talks to. A scheduler starts with nearly no variables.
CARRIED = ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY", "XDG_RUNTIME_DIR")
SYSTEM_PATH = ("/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin")


@dataclass(frozen=True, kw_only=True)
class Record:
    """What is known of a checkout's schedule.

    Attributes:
        schedule: as people type it.
        scheduler: what starts it: cron, systemd or launchd.
        root: where the checkout was then.
        python: the program that runs drydock.
        since: when it was turned on, UTC, ISO 8601.
        last: when the last one that succeeded began; empty before the first.
        result: what came of the latest attempt, as the log has it.
        due: the moment that the latest attempt was for.
        failures: how often it failed for that moment.
    """

    schedule: str
    scheduler: str
    root: str
    python: str
    since: str
    last: str = ""
    result: str = ""
    due: str = ""
    failures: int = 0

    @property
    def parsed(self) -> Schedule:
        """The schedule itself."""
        return parse(*self.schedule.split())

    @property
    def baseline(self) -> datetime:
        """From when on a moment of the schedule counts as missed."""
        return datetime.fromisoformat(self.last or self.since)


def folder(settings: Settings) -> Path:
    """Where the schedule's record, script and logs are."""
    return settings.folder / FOLDER


def read(settings: Settings) -> Record | None:
    """The checkout's schedule, or None where there is none.

    Raises:
        DrydockError: where the record is damaged.
    """
    path = folder(settings) / RECORD
    known = {f.name for f in fields(Record)}
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        record = Record(**{key: value for key, value in raw.items() if key in known})
        record.parsed, record.baseline  # noqa: B018 - whether they can be read
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, AttributeError, DrydockError) as error:
        raise DrydockError(f"{path} is damaged: {error}.", hint="invoke backup.schedule daily 03:00") from error
    return record


def write(settings: Settings, record: Record) -> Record:
    """Record the schedule and return it."""
    folder(settings).mkdir(mode=0o700, parents=True, exist_ok=True)
    write_atomic(folder(settings) / RECORD, json.dumps(asdict(record), indent=1) + "\n")
    return record


def turn_on(environment: Environment, schedule: Schedule, now: datetime) -> Record:
    """Have backups made by `schedule` from now on; replaces the schedule there was.

    Raises:
        DrydockError: where nothing on this machine can start them, or it refuses.
    """
    from drydock.backup.scheduling import schedulers

    settings = environment.settings
    scheduler = schedulers.choose(settings.backup_scheduler)
    before = _forgiving(settings)
    job = schedulers.Job(environment.state.checkout, settings.root, folder(settings) / SCRIPT, schedule.at.minute)
    folder(settings).mkdir(mode=0o700, parents=True, exist_ok=True)
    write_atomic(job.script, script(settings.root))
    scheduler.install(job)
    if before and before.scheduler not in {"", scheduler.name}:
        schedulers.known()[before.scheduler].remove(job.checkout)
    record = Record(
        schedule=str(schedule),
        scheduler=scheduler.name,
        root=str(settings.root),
        python=sys.executable,
        since=now.isoformat(timespec="seconds"),
    )
    return write(settings, record)


def turn_off(environment: Environment) -> bool:
    """Take the schedule away, whatever started it; False where there was none."""
    from drydock.backup.scheduling import schedulers

    settings = environment.settings
    found = [
        scheduler.remove(environment.state.checkout)
        for scheduler in schedulers.known().values()
        if not scheduler.problem()
    ]
    had = (folder(settings) / RECORD).exists()
    for name in (RECORD, SCRIPT):
        (folder(settings) / name).unlink(missing_ok=True)
    return had or any(found)


def inspect(environment: Environment) -> Check | None:
    """Whether the schedule will be kept, for `doctor`; None where there is none.

    Raises:
        DrydockError: where its record is damaged or the scheduler cannot be asked.
    """
    record = read(environment.settings)
    if record is None:
        return None
    for detail, fix in _complaints(environment, record):
        return Check(CHECK, Status.WARN, detail, fix)
    return Check(CHECK, Status.PASS, f"{record.schedule}, by {record.scheduler}")


def _complaints(environment: Environment, record: Record) -> Iterator[tuple[str, str]]:
    """What keeps a schedule from being kept, and what to do about it; the gravest first."""
    from drydock.backup.scheduling import schedulers

    scheduler, root = schedulers.known()[record.scheduler], environment.settings.root
    again = f"invoke backup.schedule {record.schedule}"
    if record.root != str(root):
        yield f"it was made for {record.root}, and the checkout is at {root}", again
    if scheduler.problem() or not scheduler.has(environment.state.checkout):
        yield f"{record.scheduler} has no entry of it any more", again
    if not Path(record.python).exists():
        yield f"{record.python}, which it starts, is gone", again
    if record.result.startswith("failed"):
        yield f"the last one {record.result}", f"cat {word(folder(environment.settings) / LOG)}"
    if caution := scheduler.caution():
        yield caution


def overlooked() -> list[str]:
    """Settings of this shell that no scheduled run will see, for they are not in .env."""
    return sorted(name for name in variables() if name in child_environment({}))


def script(root: Path) -> str:
    """What a scheduler has /bin/sh run: drydock in the checkout, with what of this shell it takes to reach Docker.

    It holds no secret, says nothing once the checkout is gone, and leaves in its log what could not even start.
    """
    environ = child_environment({})
    found = [str(Path(program).parent) for program in (sys.executable, shutil.which("docker")) if program]
    values = {"PATH": ":".join(dict.fromkeys((*found, *SYSTEM_PATH)))}
    values |= {name: environ[name] for name in CARRIED if environ.get(name)}
    exports = "\n".join(f"export {name}={shlex.quote(value)}" for name, value in values.items())
    python, output = shlex.quote(sys.executable), f".drydock/{FOLDER}/{OUTPUT}"
    return f"""\
# Written by `invoke backup.schedule`. A scheduler starts it every hour; drydock decides whether a backup is due.
cd {shlex.quote(str(root))} 2>/dev/null && test -d .drydock/{FOLDER} || exit 0
umask 077
{exports}
exec >{output} 2>&1
exec {python} -m invoke backup.scheduled
"""


def _forgiving(settings: Settings) -> Record | None:
    """The record, or None where it is damaged: what replaces it need not read it."""
    try:
        return read(settings)
    except DrydockError:
        return None
