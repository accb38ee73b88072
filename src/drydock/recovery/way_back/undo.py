"""Back to before a change and forth again, by the cheapest way that is still there."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from drydock import template
from drydock.errors import NotReadyError, RefusedError
from drydock.recovery.archive import marks
from drydock.recovery.way_back import changes, marking, reach, volumes
from drydock.recovery.way_back.journal import Entry, Kind, Move
from drydock.recovery.way_back.ways import ELSEWHERE, LEAVES, Situation, Way, choose, refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import AbstractContextManager

    from drydock.environment import Environment
    from drydock.recovery.plans.plan import Plan
    from drydock.recovery.restores.attempts import Attempts
    from drydock.recovery.way_back.changes import Change


@dataclass(frozen=True)
class Moved:
    """What an undo or redo did: the change it was about, how, and how many levels can be reached on either side."""

    entry: Entry
    way: Way
    undo: int
    redo: int
    seconds: float


def look(environment: Environment, *entries: Entry) -> Situation:
    """What is there, as far as it matters to entries.

    Raises:
        NotReadyError: where it may be in a database and Postgres does not answer.
    """
    kinds = {entry.kind for entry in entries}
    return Situation(
        incarnation=environment.state.incarnation,
        kept=changes.kept(environment) if Kind.DATABASES in kinds else "",
        volumes=frozenset(volumes.incarnations(environment)) if Kind.CLUSTER in kinds else frozenset(),
        marks=frozenset(mark.name for mark in marks.every(marking.archive_of(environment))),
    )


def plan(environment: Environment, move: Move) -> tuple[Entry, Way]:
    """The change that an undo or redo would be about, and how it would be done; a restore is planned completely.

    Raises:
        RefusedError: where there is none, or no way any more.
    """
    entry, way = _chosen(environment, move)
    if way is Way.MARK:
        _planned(_attempts(environment, entry), move, entry)
    return entry, way


def lost(environment: Environment, entries: Iterable[Entry]) -> frozenset[str]:
    """The ids of the entries that nothing leads to any more since the WAL before their marks has expired.

    What only the server could tell, and it does not answer, is not called lost.
    """
    gone = reach.expired(marking.archive_of(environment))
    expired = [entry for entry in entries if entry.mark in gone]
    try:
        there = look(environment, *expired) if expired else None
    except NotReadyError:
        expired = [entry for entry in expired if entry.kind is not Kind.DATABASES]
        there = look(environment, *expired)
    return frozenset(entry.id for entry in expired if there and not _leads(entry, there))


def go(environment: Environment, move: Move, report: Callable[[str], None]) -> Moved:
    """Undo or redo. What is left by it is marked first, so that the other way is open; Redis is flushed.

    Raises:
        RefusedError: where there is nothing to undo or redo, or no way any more; nothing was changed then.
    """
    begun = time.monotonic()
    entry, way = _chosen(environment, move)
    report(f"{move} {entry.title}, by {way}")

    def moving() -> AbstractContextManager[Change]:
        return changes.moving(environment, move, str(move), LEAVES[way], report=report)

    if way is Way.MARK:
        _restore(environment, move, entry, moving, report)
    else:
        with moving():
            _switch(environment, entry, report) if way is Way.CLUSTER else template.undo(environment)
    journal = changes.load(environment)
    gone = lost(environment, (*journal.undo, *journal.redo))
    undo, redo = (sum(1 for one in side if one.id not in gone) for side in (journal.undo, journal.redo))
    return Moved(entry, way, undo, redo, time.monotonic() - begun)


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


def _chosen(environment: Environment, move: Move) -> tuple[Entry, Way]:
    entry = changes.load(environment).top(move)
    return entry, choose(move, entry, look(environment, entry))


def _leads(entry: Entry, situation: Situation) -> bool:
    """Whether something that was kept leads to an entry, without its mark."""
    try:
        choose(Move.UNDO, entry, replace(situation, marks=frozenset()))
    except RefusedError:
        return False
    return True


def _attempts(environment: Environment, entry: Entry) -> Attempts:
    from drydock.recovery.plans.moments import Clock
    from drydock.recovery.plans.targets import AtMark
    from drydock.recovery.restores.attempts import Attempts

    archive = marking.archive_of(environment)
    return Attempts(environment, archive, AtMark(entry.mark), Clock(datetime.now(UTC)))


def _planned(attempts: Attempts, move: Move, entry: Entry) -> Plan:
    """The plan of a restore to the entry's mark.

    Raises:
        RefusedError: where there is none; it names the restorable window.
    """
    try:
        return attempts.plan()
    except RefusedError as error:
        expired = entry.mark in reach.expired(attempts.archive)
        why = error.message[0].lower() + error.message[1:].rstrip(".")
        raise refusal(move, entry, why, ELSEWHERE if expired else error.hint) from error


def _restore(
    environment: Environment,
    move: Move,
    entry: Entry,
    recorded: Callable[[], AbstractContextManager[object]],
    report: Callable[[str], None],
) -> None:
    """Restore to the entry's mark, beside and then in place. Nobody is asked: what is there now is kept."""
    from drydock.backup.restore import Dealings
    from drydock.recovery.restores import going_back

    attempts = _attempts(environment, entry)
    dealings = Dealings(lambda _question: None, report, lambda _item, _done, _total: None)
    attempts.carry_out(
        _planned(attempts, move, entry),
        lambda plan: going_back.restore(going_back.Trip(environment, attempts.archive, plan, dealings, recorded)),
        report,
    )
