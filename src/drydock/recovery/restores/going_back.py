"""Going back to a planned moment: beside first, looked at, and only then in place, as a branch, or table by table."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from drydock import ports
from drydock.errors import NoEnvironmentError, RefusedError
from drydock.fault_points import Point, reached
from drydock.recovery.archive.folders import Archive, part_name, system_identifiers
from drydock.recovery.bases import base
from drydock.recovery.restores import branches, counts, recipes, rewind, swap, tables, unfinished
from drydock.recovery.restores.unfinished import Work

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from drydock.backup.restore import Dealings
    from drydock.environment import Environment
    from drydock.recovery.plans.plan import Plan
    from drydock.recovery.restores.branches import Branch
    from drydock.recovery.restores.rewind import Paused
    from drydock.settings import Settings


@dataclass(frozen=True)
class Trip:
    """A way back that is about to be taken.

    Attributes:
        environment: whose lock is held; it need not run, nor have ever run.
        archive: that the plan was made from.
        plan: how.
        dealings: with whoever asked; the question comes once the moment has been looked at.
        recorded: entered once the question was answered, and left after the change.
    """

    environment: Environment
    archive: Archive
    plan: Plan
    dealings: Dealings
    recorded: Callable[[], AbstractContextManager[object]] = nullcontext


@dataclass(kw_only=True)
class WentBack:
    """What came of it.

    Attributes:
        last_commit: the time of the last transaction that is there, UTC as the server words it; may be empty.
        rows: tables whose number of rows differs: now and then; None where there is no such table.
        uncounted: tables that a transaction was changing at that moment, so that nobody can read them there.
        closed: the database, where it was closed at that moment, so that its rows are not counted there.
        incarnation: the new life of the cluster; 0 where the environment stayed what it was.
        previous: the volume that was replaced, which is kept; empty where none was.
        branch: where it was kept beside.
        tables: what was brought back, by the name that it has now.
        kept: the database with the data from before, where tables were replaced.
        seconds: by step.
    """

    last_commit: str
    rows: dict[str, tuple[int | None, int | None]] = field(default_factory=dict)
    uncounted: list[str] = field(default_factory=list)
    closed: str = ""
    incarnation: int = 0
    previous: str = ""
    branch: Branch | None = None
    tables: list[str] = field(default_factory=list)
    kept: str = ""
    seconds: dict[str, float] = field(default_factory=dict)

    def document(self) -> dict[str, object]:
        """For --json."""
        return asdict(self)


def find_archive(settings: Settings, own: str, cluster: str = "") -> Archive:
    """The archive to go back in: of the environment's own cluster, of the one that is named, or the only one there is.

    Raises:
        NoEnvironmentError: where there is none.
        RefusedError: where there are several, and nothing says which; where it is not the environment's own.
    """
    known = system_identifiers(settings)
    wanted = cluster or own
    if wanted not in {"", *known} or not known:
        which = f" of the cluster {wanted}" if wanted else ""
        hint = f"There are: {', '.join(known)} (--cluster)." if known else "invoke backup.list shows the dumps."
        raise NoEnvironmentError(f"{settings.backups} holds no WAL archive{which}.", hint=hint)
    if own not in {"", wanted}:
        raise RefusedError(
            f"This environment is of the cluster {own}: put in its place, {wanted} would leave no way back to it.",
            hint="In another checkout, with this one's backups/ folder; or invoke destroy before",
        )
    if not wanted and len(known) > 1:
        raise RefusedError(
            f"{settings.backups} holds the WAL of several clusters: {', '.join(known)}.", hint="Say which: --cluster"
        )
    return Archive(settings, wanted or known[0])


def restore(trip: Trip) -> WentBack:
    """Take the whole cluster back, in place of what is there, which is kept. Redis is flushed.

    Raises:
        DamagedBaseError: nothing has changed; an earlier base backup may do.
        DrydockError, RefusedError: nothing has changed then, unless the new servers do not come up.
    """
    environment = trip.environment
    incarnation = unfinished.next_incarnation(environment, trip.archive)
    beside = environment.engine.beside
    work = Work(beside.volume(str(incarnation)), part_name(incarnation), trip.archive.system_identifier)
    with _beside(trip, work) as paused:
        result = _looked_at(environment, paused)
        _show(result, trip.dealings.report)
        trip.dealings.ask("Put it in place of what is there now? That is kept.")
        result.incarnation, before = incarnation, beside.volume(str(environment.state.incarnation))
        result.previous = before if before in beside.volumes() else ""
        begun = time.monotonic()
        with trip.recorded():
            parent = trip.archive.owner_of(trip.plan.stop.timeline)
            swap.adopt(environment, paused, incarnation, parent, trip.dealings.report)
        result.seconds["swap"] = round(time.monotonic() - begun, 3)
    return result


def branch(trip: Trip, name: str, moment: str) -> WentBack:
    """Keep the moment beside the environment, as a branch; `moment` says for people which it is.

    Raises:
        DrydockError, RefusedError: nothing is left of it then.
    """
    volume = branches.check(trip.environment, name)
    with _beside(trip, Work(volume)) as paused:
        result = _looked_at(trip.environment, paused)
        made = datetime.now(UTC).isoformat(timespec="seconds")
        result.branch = branches.keep(trip.environment, paused, name, moment, made)
    return result


def bring_back(trip: Trip, wanted: Sequence[str], *, replace: bool) -> WentBack:
    """Bring back some tables, beside their namesakes as `…_restored`, or in place of their rows.

    Raises:
        DrydockError, RefusedError: the live database is untouched then.
    """
    environment = trip.environment
    with _beside(trip, Work(environment.engine.beside.volume("tables"))) as paused:
        result = _looked_at(environment, paused)
        there = branches.opened(environment, paused, ports.pick(f"{environment.state.checkout} tables"))
        begun = time.monotonic()
        names = tables.known_there(there, wanted)
        result.rows = {name: rows for name, rows in result.rows.items() if name in names}
        result.uncounted = [name for name in result.uncounted if name in names]
        if replace:
            tables.refuse_new_members(environment, there, wanted)
            _show(result, trip.dealings.report, names)
            trip.dealings.ask(f"Put these rows in place of those of {', '.join(names)}? What is there now is kept.")
            with trip.recorded():
                result.tables, result.kept = tables.replace(environment, there, names, trip.dealings.report)
        else:
            result.tables = tables.beside(environment, there, names)
        result.seconds["copy"] = round(time.monotonic() - begun, 3)
        unfinished.clear(environment, _silent)
    return result


@contextmanager
def _beside(trip: Trip, work: Work) -> Iterator[Paused]:
    """A server that pauses at the planned moment; where the body fails, nothing is left of it."""
    environment, report = trip.environment, trip.dealings.report
    unfinished.clear(environment, report)
    beside = environment.engine.beside
    beside.prepare(report)
    recipe = recipes.make(environment.settings, trip.archive, trip.plan)
    unfinished.begin(environment, work)
    reached(Point.REWIND_NOTED)
    try:
        with _blaming(trip):
            paused = rewind.rewind(beside, work.volume, recipe, report)
        _prove(paused, trip.archive, environment.settings.database)
        yield paused
    except BaseException:
        unfinished.clear(environment, _silent)
        raise


@contextmanager
def _blaming(trip: Trip) -> Iterator[None]:
    """Where the body fails, see whether the base backup's content is why.

    Raises:
        DamagedBaseError: where it is.
    """
    try:
        yield
    except Exception:
        base.refuse_damaged(trip.archive, trip.plan.base.name)
        raise


def _prove(paused: Paused, archive: Archive, live: str) -> None:
    """Stop where the server is of another cluster than the archive, or stands where a database is half dropped.

    Those that drydock makes and drops for itself are dropped once more by whoever finds them (`template.heal`).

    Raises:
        RefusedError: then.
    """
    lost = ", ".join(name for name in paused.dropped if not name.startswith(f"{live}__"))
    if lost:
        raise RefusedError(
            f"At that moment this was being dropped, which cannot be stopped halfway: {lost}.",
            hint='invoke restore --at TIME, with a moment before that: invoke restore --at "10 minutes ago"',
        )
    if paused.system_identifier != archive.system_identifier:
        raise RefusedError(
            f"The base backup is of the cluster {paused.system_identifier}, not of {archive.system_identifier}.",
            hint="invoke archive.verify",
        )


def _looked_at(environment: Environment, paused: Paused) -> WentBack:
    begun = time.monotonic()
    database = environment.settings.database
    with ThreadPoolExecutor(1) as second:
        counting = second.submit(counts.now, environment)
        then = counts.then(environment.engine.beside, paused.volume, database)
        now = counting.result() or {}
    known = {name: count for name, count in now.items() if name not in then.uncounted}
    seconds = {**paused.seconds, "count": time.monotonic() - begun}
    return WentBack(
        last_commit=paused.last_commit,
        rows={} if then.closed else counts.changed(known, then.rows),
        uncounted=then.uncounted,
        closed=database if then.closed else "",
        seconds={name: round(value, 3) for name, value in seconds.items()},
    )


def _show(result: WentBack, report: Callable[[str], None], names: Sequence[str] = ()) -> None:
    for line in rows_lines(result, names):
        report(line)
    for name in result.uncounted:
        report(f"{name} was being changed at that moment by a transaction that is not in it: its rows are not counted")


def rows_lines(result: WentBack, names: Sequence[str] = ()) -> Iterator[str]:
    """The tables with other numbers of rows, for people; `names` are those that it is about, where not all."""
    if result.closed:
        yield f"{result.closed} was closed at that moment, as it is while it is replaced: its rows are not counted"
        return
    if not result.rows:
        alike = [name.removeprefix("public.") for name in names if name not in result.uncounted]
        if alike or not names:
            which = f"{', '.join(alike)} {'have' if alike[1:] else 'has'}" if alike else "every table has"
            yield f"{which} as many rows then as now"
        return
    from drydock.console import table

    # As the plan and the history name them.
    counted = [(name.removeprefix("public."), pair) for name, pair in result.rows.items()]
    shown = [(name, *("-" if n is None else f"{n:,}" for n in pair)) for name, pair in counted]
    yield from table([("rows of", "now", "then"), *shown])


def _silent(_line: str) -> None:
    """Nobody needs to be told."""
