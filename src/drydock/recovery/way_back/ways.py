"""How to get to the other side of a change: the ways there are, and the cheapest that is still open. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from drydock.errors import RefusedError
from drydock.recovery.way_back.journal import Kind, Move

if TYPE_CHECKING:
    from drydock.recovery.way_back.journal import Entry


class Way(StrEnum):
    """How to get to the state on the other side of a change; cheapest first."""

    DATABASES = "exchanging the database for the one that was kept"
    CLUSTER = "switching to the cluster that was kept"
    MARK = "a restore to the mark that was made before"


ELSEWHERE = "invoke mark.list and invoke backup.list name what can be restored."
# What each way leaves of the state that is left by it.
LEAVES = {Way.DATABASES: Kind.DATABASES, Way.CLUSTER: Kind.CLUSTER, Way.MARK: Kind.CLUSTER}


@dataclass(frozen=True, kw_only=True)
class Situation:
    """What is there to go back with.

    Attributes:
        incarnation: the one that runs.
        kept: the id of the journal entry that the kept database carries; empty where there is none.
        volumes: the incarnations whose volumes are there.
        marks: the names of all marks.
    """

    incarnation: int
    kept: str
    volumes: frozenset[int]
    marks: frozenset[str]


def choose(move: Move, entry: Entry, situation: Situation) -> Way:
    """The cheapest way to the state that an entry names, for an undo or a redo.

    A kept database is the one only while it carries the entry's id. A kept cluster is as it was left, for whoever
    goes back to it takes the entry from its stack.

    Raises:
        RefusedError: saying what is gone.
    """
    if entry.kind is Kind.DATABASES and situation.kept == entry.id:
        return Way.DATABASES
    if entry.kind is Kind.CLUSTER and entry.incarnation in situation.volumes - {situation.incarnation}:
        return Way.CLUSTER
    if entry.mark in situation.marks:
        return Way.MARK
    raise refusal(move, entry, _gone(entry), ELSEWHERE)


def refusal(move: Move, entry: Entry, why: str, hint: str) -> RefusedError:
    """The refusal of an undo or redo: why, as a clause, and what can be done instead."""
    done = "undone" if move is Move.UNDO else "done again"
    return RefusedError(f"The {entry.title} cannot be {done}: {why}.", hint=hint)


def _gone(entry: Entry) -> str:
    """What an entry had to go back with, and has no more."""
    unmarked = entry.unmarked or "its mark is gone"
    if entry.kind is Kind.DATABASES:
        return f"the database it kept was replaced by a later one, and {unmarked}"
    if entry.kind is Kind.CLUSTER:
        return f"the volume of incarnation {entry.incarnation} is gone, and {unmarked}"
    return unmarked
