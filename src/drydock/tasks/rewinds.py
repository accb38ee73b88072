"""What `restore` does with --at, --before-xid, --lsn, --mark or --latest."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from drydock.console import confirm, seconds
from drydock.errors import DrydockError, RefusedError, SettingsError
from drydock.tasks.common import settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from drydock.checks import Check
    from drydock.console import Console
    from drydock.environment import Environment
    from drydock.recovery.plans.plan import Plan
    from drydock.recovery.restores.going_back import Trip, WentBack


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is to come of the moment that is gone back to.

    Attributes:
        plan: only a plan.
        branch: keep it beside, under this name.
        tables: bring back only these.
        replace: and put them in place of those of now.
        cluster: in the archive of this cluster.
        yes: do not ask.
    """

    plan: bool
    branch: str
    tables: Sequence[str]
    replace: bool
    cluster: str
    yes: bool

    @property
    def in_place(self) -> bool:
        """Whether it takes the place of what is there now."""
        return self.whole or self.replace

    @property
    def whole(self) -> bool:
        """Whether the cluster goes back as a whole."""
        return not self.branch and not self.tables

    def of(self, plan: Plan) -> Plan:
        """What the plan comes to: a branch or single tables undo none of the transactions since."""
        return plan if self.whole else plan.undoing_nothing()


def check(wanted: Wanted) -> None:
    """Refuse what cannot be had together.

    Raises:
        SettingsError: then.
    """
    if wanted.branch and wanted.tables:
        raise SettingsError("--branch and --table cannot be had together.", hint="invoke --help restore")
    if wanted.replace and not wanted.tables:
        raise SettingsError("--replace is for --table.", hint="invoke --help restore")


def go_back(console: Console, words: Mapping[str, Any], wanted: Wanted) -> None:
    """Plan, show the plan, go back, and print what came of it; `words` are those of targets.Words."""
    from drydock.backup.restore import Dealings
    from drydock.recovery.plans import targets
    from drydock.recovery.plans.moments import Clock
    from drydock.recovery.restores import going_back
    from drydock.recovery.restores.attempts import Attempts

    check(wanted)
    clock = Clock(datetime.now(UTC))
    target = targets.chosen(targets.Words(**words), clock)
    moment = targets.described(target, clock)

    def ask(question: str) -> None:
        if not wanted.yes and not confirm(f"{question} Type yes to go on:", "yes"):
            raise RefusedError("Nothing was changed: it was not confirmed.", hint="Answer yes, or pass --yes.")

    _refuse_at_once(wanted)
    with _recoverable(console) as environment:
        archive = going_back.find_archive(environment.settings, environment.state.system_identifier, wanted.cluster)
        attempts = Attempts(environment, archive, target, clock)
        with console.phase("plan"):
            found = attempts.plan()
        lines = list(wanted.of(found).lines(clock))
        if wanted.plan:
            console.result({"plan": wanted.of(found).document()}, lines)
            return
        for line in lines if wanted.in_place else lines[:1]:
            console.step(line)
        undo = _Undo(environment, console, wanted)
        dealings = Dealings(ask, console.step, lambda *_: None)
        with console.phase("go back"):
            found, result = attempts.carry_out(
                found,
                lambda plan: _take(
                    going_back.Trip(environment, archive, plan, dealings, undo.recorded), wanted, moment
                ),
                console.step,
            )
        problems = _problems(environment) if wanted.in_place else []
    data = {"plan": wanted.of(found).document(), **result.document(), "undo": undo.command}
    console.result(data, [*_lines(result, problems), *undo.lines])


def _refuse_at_once(wanted: Wanted) -> None:
    """What can be known before anything is written: a checkout without an archive stays as it was."""
    from drydock.environment import cluster_of, refuse_in_production
    from drydock.recovery.restores import going_back

    current = settings()
    # A branch is made beside: nothing that is there is changed.
    if not wanted.plan and not wanted.branch:
        refuse_in_production(current, "restore")
    going_back.find_archive(current, cluster_of(current), wanted.cluster)


class _Undo:
    """The way back from a restore: noted around the change itself."""

    def __init__(self, environment: Environment, console: Console, wanted: Wanted) -> None:
        self.environment, self.console, self.wanted = environment, console, wanted
        self.command, self.lines = "", list[str]()

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Leave a mark, and a note in the journal."""
        from drydock.recovery.way_back import changes
        from drydock.recovery.way_back.journal import Kind

        kind = Kind.DATABASES if self.wanted.tables else Kind.CLUSTER
        with changes.recorded(self.environment, "restore", kind, report=self.console.step) as change:
            try:
                yield
            except DrydockError as error:
                # The new cluster is in place, and what failed is its start.
                if change.undo and self.environment.state.incarnation != change.entry.incarnation:
                    error.hint = "; ".join(filter(None, [error.hint, f"or back to what was there: {change.undo}"]))
                raise
        self.command, self.lines = change.undo, change.lines


def _take(trip: Trip, wanted: Wanted, moment: str) -> WentBack:
    from drydock.recovery.restores import going_back

    if wanted.branch:
        return going_back.branch(trip, wanted.branch, moment)
    if wanted.tables:
        return going_back.bring_back(trip, wanted.tables, replace=wanted.replace)
    return going_back.restore(trip)


@contextmanager
def _recoverable(console: Console) -> Iterator[Environment]:
    """The environment, locked: made where there is none but its backups, and not started where it does not run."""
    from drydock import lifecycle
    from drydock.lock import locked
    from drydock.state import StateFile

    current = settings()
    StateFile(current.folder).prepare()
    with locked(current.folder, "restore", timeout=current.lock_timeout, report=console.step):
        environment, notes = lifecycle.prepare(settings())
        for note in notes:
            console.note(note)
        lifecycle.choose_engine(environment, console.step)
        yield environment


def _problems(environment: Environment) -> list[Check]:
    """What is not as it should be now: the schema may be older than the code."""
    from drydock import readiness

    return [check for check in readiness.checks(environment) if not check.passed]


def _lines(result: WentBack, problems: Sequence[Check]) -> Iterator[str]:
    from drydock.recovery.restores.going_back import rows_lines

    steps = ", ".join(f"{name} {seconds(value)}" for name, value in result.seconds.items())
    yield f"Went back: {steps}."
    if result.last_commit:
        yield f"The last transaction in it was committed at {result.last_commit} UTC."
    if result.branch:
        name, port = result.branch.name, result.branch.port
        yield f"It is the branch {name} on port {port}: invoke psql --branch {name}. It is not archived."
        yield f"  invoke branch.drop {name} removes it."
    elif result.tables:
        yield f"Brought back: {', '.join(name.removeprefix('public.') for name in result.tables)}."
        yield f"The data from before is kept as {result.kept}." if result.kept else "Nothing else was changed."
    else:
        yield from (f"  {line}" for line in rows_lines(result))
        yield "Redis is flushed. A base backup is being taken: invoke status."
        yield f"The data from before is kept as {result.previous}." if result.previous else "There was no data before."
    for check in problems:
        yield f"{check.name}: {check.detail}"
        yield f"    → {check.fix}"
