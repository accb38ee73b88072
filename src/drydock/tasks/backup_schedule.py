"""backup.schedule, backup.scheduled."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from invoke.parser.argument import Argument
from invoke.tasks import Task

from drydock.backup.scheduling.schedule import TIMED
from drydock.tasks.backup_keeping import catalogue_of, holding
from drydock.tasks.common import changing, command, settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drydock.backup.catalogue import Entry
    from drydock.backup.pruning import Pruning
    from drydock.backup.scheduling.automation import Record
    from drydock.backup.scheduling.scheduled import Run, Work
    from drydock.console import Console
    from drydock.settings import Settings

SHOW, OFF = "show", "off"


class TimeOfDay(Argument):
    """The second word of a schedule, which is asked for after `daily` or a day of the week only."""

    def __init__(self, when: Argument, **options: Any) -> None:
        super().__init__(**options)
        self.when = when

    @property
    def value(self) -> Any:
        """What was given; nothing is missing where the first word takes no time."""
        return "" if self._value is None and self.when.value not in TIMED else self._value

    @value.setter
    def value(self, text: str) -> None:
        self.set_value(text)


class ScheduleTask(Task):  # type: ignore[type-arg]
    """A task whose second word depends on its first."""

    def get_arguments(self, ignore_unknown_help: bool | None = None) -> list[Argument]:
        """The task's arguments, with `at` knowing `when`."""
        when, at, *others = super().get_arguments(ignore_unknown_help)
        names = (at.name or "", *at.nicknames)
        return [when, TimeOfDay(when, names=names, help=at.help, positional=True), *others]


@command(
    klass=ScheduleTask,
    help={
        "when": "hourly, daily or a day of the week; off; show.",
        "at": "Time of day on this machine's clock: 03:00.",
    },
)
def schedule(console: Console, when: str, at: str, json: bool = False) -> None:
    """Have backups made by themselves: daily 03:00, sunday 03:00, hourly, off, show."""
    if when == SHOW:
        _show(console)
    elif when == OFF:
        _turn_off(console)
    else:
        _turn_on(console, when, at)


@command()
def scheduled(console: Console, json: bool = False) -> None:
    """What the schedule starts: make a proven backup and prune, where one is due. Logs to .drydock/backup."""
    from drydock.backup.scheduling import automation
    from drydock.backup.scheduling import scheduled as work
    from drydock.errors import BusyError
    from drydock.lock import locked

    current = settings()
    run = work.Run("not due", "no backup is due" if automation.read(current) else "there is no schedule")
    if work.pending(current, datetime.now(UTC)):
        try:
            with locked(automation.folder(current), "backup.scheduled", timeout=0, report=console.step):
                run = _run(console, current)
        except BusyError:
            run = work.Run("not due", "one is being made")
    console.result({"outcome": run.outcome, "detail": run.detail}, [f"{run.outcome}: {run.detail}"])


def _run(console: Console, current: Settings) -> Run:
    """Make the backup that is due, and write down what came of it."""
    from drydock.backup.scheduling import scheduled as work
    from drydock.environment import open_existing
    from drydock.errors import BusyError, NoEnvironmentError

    now = datetime.now(UTC)
    try:
        run = work.attempt(open_existing(), _work(console, current))
    except (BusyError, NoEnvironmentError) as error:
        run = work.Run("skipped", error.message)
    except Exception as error:
        work.conclude(current, work.Run("failed", str(error)), now)
        raise
    work.conclude(current, run, now)
    return run


def _work(console: Console, current: Settings) -> Work:
    from drydock.backup import dump, pruning, verify
    from drydock.backup.scheduling.scheduled import Work

    def make() -> Entry:
        with changing(console, "backup.scheduled") as environment, console.phase("dump"):
            return dump.make(environment, dump.Request(), now=datetime.now(UTC), progress=_silent)

    def prove(entry: Entry) -> None:
        from drydock.environment import open_existing

        with console.phase("verify"):
            verify.verify(open_existing(), entry, now=datetime.now(UTC), progress=_silent)

    def prune() -> Pruning:
        with holding(console, current, "backup.scheduled"):
            return pruning.prune(catalogue_of(current), pruning.policy(current))

    return Work(make, prove, prune)


def _silent(_item: str, _done: int, _total: int) -> None:
    """Nobody watches a scheduled run."""


def _turn_on(console: Console, when: str, at: str) -> None:
    from drydock.backup.scheduling import automation
    from drydock.backup.scheduling.schedule import parse
    from drydock.backup.scheduling.schedulers import known

    wanted = parse(when, at)
    with changing(console, "backup.schedule") as environment:
        record = automation.turn_on(environment, wanted, datetime.now(UTC))
    for name in automation.overlooked():
        console.note(f"{name} is set in this shell alone; scheduled backups see .env only")
    if caution := known()[record.scheduler].caution():
        console.note(": ".join(caution))
    _tell(console, record)


def _turn_off(console: Console) -> None:
    from drydock.backup.scheduling import automation

    with changing(console, "backup.schedule") as environment:
        was = automation.turn_off(environment)
    console.result({"was_on": was}, ["Backups are no longer made by themselves." if was else "There was no schedule."])


def _show(console: Console) -> None:
    from drydock.backup.scheduling import automation

    record = automation.read(settings())
    if record is None:
        console.result({"schedule": None}, ["There is no schedule: invoke backup.schedule daily 03:00"])
    else:
        _tell(console, record)


def _tell(console: Console, record: Record) -> None:
    from dataclasses import asdict

    from drydock.backup.scheduling import automation

    log = automation.folder(settings()) / automation.LOG
    console.result({**asdict(record), "log": str(log)}, _lines(record, str(log)))


def _lines(record: Record, log: str) -> Iterator[str]:
    yield f"A proven backup {record.schedule}, started by {record.scheduler}; a missed one is made within the hour."
    yield f"  last   {record.last or 'none yet'}"
    if record.result:
        yield f"  result {record.result}"
    yield f"  log    {log}"


TASKS = (schedule, scheduled)
