"""Back to before a change and forth again, by the cheapest way that is still there."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from drydock import template
from drydock.recovery.archive import marks
from drydock.recovery.way_back import changes, marking, volumes
from drydock.recovery.way_back.journal import Entry, Kind, Move
from drydock.recovery.way_back.ways import LEAVES, Situation, Way, choose

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from drydock.environment import Environment
    from drydock.recovery.way_back.changes import Change


@dataclass(frozen=True)
class Moved:
    """What an undo or redo did: the change it was about, how, and how many levels are left on either side."""

    entry: Entry
    way: Way
    undo: int
    redo: int
    seconds: float


def look(environment: Environment, entry: Entry) -> Situation:
    """What is there, as far as it matters to an entry.

    Raises:
        NotReadyError: where it may be in a database and Postgres does not answer.
    """
    return Situation(
        incarnation=environment.state.incarnation,
        kept=changes.kept(environment) if entry.kind is Kind.DATABASES else "",
        volumes=frozenset(volumes.incarnations(environment)) if entry.kind is Kind.CLUSTER else frozenset(),
        marks=frozenset(mark.name for mark in marks.every(marking.archive_of(environment))),
    )


def plan(environment: Environment, move: Move) -> tuple[Entry, Way]:
    """The change that an undo or redo would be about, and how it would be done.

    Raises:
        RefusedError: where there is none, or no way any more.
    """
    entry = changes.load(environment).top(move)
    return entry, choose(move, entry, look(environment, entry))


def go(environment: Environment, move: Move, report: Callable[[str], None]) -> Moved:
    """Undo or redo. What is left by it is marked first, so that the other way is open; Redis is flushed.

    Raises:
        RefusedError: where there is nothing to undo or redo, or no way any more; nothing was changed then.
    """
    begun = time.monotonic()
    entry, way = plan(environment, move)
    report(f"{move} {entry.title}, by {way}")

    def moving() -> AbstractContextManager[Change]:
        return changes.moving(environment, move, str(move), LEAVES[way], report=report)

    if way is Way.MARK:
        _restore(environment, entry, moving, report)
    else:
        with moving():
            _switch(environment, entry, report) if way is Way.CLUSTER else template.undo(environment)
    journal = changes.load(environment)
    return Moved(entry, way, len(journal.undo), len(journal.redo), time.monotonic() - begun)


def exchange(environment: Environment, report: Callable[[str], None]) -> str:
    """Exchange the database for the one that the last swap kept, whichever way that is; returns the kept one's name.

    Raises:
        DrydockError: where none is kept.
    """
    journal, kept = changes.load(environment), changes.kept(environment)
    for move, stack in ((Move.UNDO, journal.undo), (Move.REDO, journal.redo)):
        if kept and stack and stack[-1].id == kept:
            go(environment, move, report)
            return environment.settings.database + template.PREVIOUS
    with changes.recorded(environment, "reset.undo", Kind.DATABASES, report=report):
        return template.undo(environment)


def _switch(environment: Environment, entry: Entry, report: Callable[[str], None]) -> None:
    from drydock.recovery.restores import swap

    swap.switch(environment, entry.incarnation, entry.part, report)


def _restore(
    environment: Environment,
    entry: Entry,
    recorded: Callable[[], AbstractContextManager[object]],
    report: Callable[[str], None],
) -> None:
    """Restore to the entry's mark, beside and then in place. Nobody is asked: what is there now is kept."""
    from drydock.backup.restore import Dealings
    from drydock.recovery.plans.moments import Clock
    from drydock.recovery.plans.targets import AtMark
    from drydock.recovery.restores import going_back
    from drydock.recovery.restores.attempts import Attempts

    archive = marking.archive_of(environment)
    attempts = Attempts(environment, archive, AtMark(entry.mark), Clock(datetime.now(UTC)))
    dealings = Dealings(lambda _question: None, report, lambda _item, _done, _total: None)
    attempts.carry_out(
        attempts.plan(),
        lambda plan: going_back.restore(going_back.Trip(environment, archive, plan, dealings, recorded)),
        report,
    )
