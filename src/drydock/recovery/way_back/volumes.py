"""Volumes of earlier incarnations, kept as the way back from a restore: which there are, and which may go."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from drydock.engine import MAJOR
from drydock.recovery.way_back import changes
from drydock.recovery.way_back.journal import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from drydock.environment import Environment
    from drydock.recovery.way_back.journal import Journal

_NAME = re.compile(rf"(?:.*-)?postgres-{MAJOR}-([1-9]\d*)")


@dataclass(frozen=True)
class Kept:
    """The volume of an incarnation that does not run: its number, its name, and the bytes it takes where known."""

    incarnation: int
    name: str
    size: int


@dataclass(frozen=True)
class Verdict:
    """What becomes of a kept volume: it stays or goes, and why, as a clause."""

    volume: Kept
    stays: bool
    reason: str


def kept(environment: Environment) -> list[Kept]:
    """The volumes of all incarnations but the one that runs, oldest first."""
    found = [
        Kept(number, volume.name, volume.size or 0)
        for volume in environment.engine.volumes()
        if (number := _incarnation(volume.name)) not in {0, environment.state.incarnation}
    ]
    return sorted(found, key=lambda volume: volume.incarnation)


def incarnations(environment: Environment) -> set[int]:
    """The incarnations that have a volume, other than the one that runs."""
    # Not `kept`: Docker takes seconds to say how large volumes are.
    found = {_incarnation(name) for name in environment.engine.beside.volumes()}
    return found - {0, environment.state.incarnation}


def judge(volumes: Iterable[Kept], journal: Journal, budget: int) -> list[Verdict]:
    """Which volumes stay: those that undo and redo go back to, the soonest needed first, as far as the budget goes.

    The one that the newest undo goes back to stays whatever it takes.

    Args:
        volumes: that are kept; the running incarnation's is none of them.
        journal: of undo and redo.
        budget: bytes for all that stay.
    """
    left, needed = budget, _needed(journal)
    found = []
    for volume in sorted(volumes, key=lambda volume: needed.get(volume.incarnation, (len(needed), ""))[0]):
        rank, reason = needed.get(volume.incarnation, (len(needed), ""))
        if not reason:
            found.append(Verdict(volume, stays=False, reason="neither undo nor redo needs it"))
        elif rank == -1 or volume.size <= left:
            left -= volume.size
            found.append(Verdict(volume, stays=True, reason=reason))
        else:
            found.append(Verdict(volume, stays=False, reason=f"{reason}, but RECOVERY_DISK has no room for it"))
    return found


def plan(environment: Environment) -> list[Verdict]:
    """What `prune` would do; changes nothing."""
    return judge(kept(environment), changes.load(environment), environment.settings.recovery_disk)


def prune(environment: Environment) -> list[Verdict]:
    """Remove the volumes that do not stay; returns what became of each."""
    found = plan(environment)
    for verdict in found:
        if not verdict.stays:
            environment.engine.beside.remove(verdict.volume.name)
    return found


def _incarnation(name: str) -> int:
    """The incarnation whose volume has this name; 0 where it is another's, such as a branch's."""
    found = _NAME.fullmatch(name)
    return int(found[1]) if found else 0


def _needed(journal: Journal) -> dict[int, tuple[int, str]]:
    """The incarnations that the journal goes back to, each with its rank and what for; -1 for the newest undo's."""
    found: dict[int, tuple[int, str]] = {}
    for rank, entry in enumerate(journal.entries):
        if entry.kind is Kind.CLUSTER and entry.incarnation not in found:
            newest = entry in journal.undo[-1:]
            done = "redo" if entry in journal.redo else "undo"
            found[entry.incarnation] = (-1 if newest else rank, f"{done} of the {entry.title} leads to it")
    return found
