"""What was changed and can be taken back, and what was taken back and can be done again: two stacks, and nothing else.

Each entry names the state of the data on the other side of a change: before it, in the stack of what can be undone;
after it, in the stack of what can be done again. How that state is reached is somebody else's business (undo.py).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from drydock.console import local
from drydock.errors import DrydockError, RefusedError, word
from drydock.files import write_atomic

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

VERSION = 1
LEVELS = 50  # of undo; the oldest goes first


class Kind(StrEnum):
    """What a change leaves of the state before it, besides a mark in the WAL."""

    DATABASES = "databases"  # the database it replaced, in the same cluster
    CLUSTER = "cluster"  # the whole cluster it replaced, as an earlier incarnation
    IN_PLACE = "in place"  # nothing


class Move(StrEnum):
    """What moves an entry: a change, or the way back from one, or the way forth again."""

    CHANGE = "change"
    UNDO = "undo"
    REDO = "redo"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A change, and the state of the data on its other side.

    Attributes:
        id: random; the database that was replaced carries it (changes.py).
        task: which made the change.
        when: the change was made; UTC, ISO 8601.
        kind: what is left of that state.
        incarnation: the one that was in that state.
        part: of the WAL archive, which that incarnation was written to; empty where there was none.
        mark: the name of the mark that was made in that state; empty where none could be.
        unmarked: why none could be, as a clause.
    """

    id: str
    task: str
    when: str
    kind: Kind
    incarnation: int
    part: str = ""
    mark: str = ""
    unmarked: str = ""

    @property
    def title(self) -> str:
        """The change in a few words."""
        return f"{self.task} of {local(self.when)}"


@dataclass(frozen=True)
class Pending:
    """A move that has begun: the entry is on the stack it belongs to once the move is known to have happened."""

    move: Move
    entry: Entry


@dataclass(frozen=True)
class Journal:
    """Both stacks, each with the next to be taken last, and what has begun and has not been finished."""

    undo: tuple[Entry, ...] = ()
    redo: tuple[Entry, ...] = ()
    pending: Pending | None = None

    def top(self, move: Move) -> Entry:
        """The entry that an undo or redo is about.

        Raises:
            RefusedError: where there is none.
        """
        stack, done = (self.undo, "undo") if move is Move.UNDO else (self.redo, "do again")
        if not stack:
            raise RefusedError(f"There is nothing to {done}.", hint="invoke mark.list names the marks to restore to")
        return stack[-1]

    def begun(self, move: Move, entry: Entry) -> Journal:
        """With a move begun whose other side is `entry`: neither stack changes before the data has.

        Of an undo or redo the entry is about the same change as the one it takes from the other stack.

        Raises:
            RefusedError: for an undo or redo where there is nothing to take.
        """
        if move is not Move.CHANGE:
            taken = self.top(move)
            entry = replace(entry, task=taken.task, when=taken.when)
        return replace(self, pending=Pending(move, entry))

    def finished(self) -> Journal:
        """With the move that had begun made; without one, nothing changes.

        A change clears what could be done again: it would be done to other data than it was taken back from.
        """
        if self.pending is None:
            return self
        move, entry = self.pending.move, self.pending.entry
        if move is Move.UNDO:
            return Journal(self.undo[:-1], (*self.redo, entry))
        if move is Move.REDO:
            return Journal((*self.undo, entry), self.redo[:-1])
        return Journal((*self.undo, entry)[-LEVELS:], ())

    def cancelled(self) -> Journal:
        """With the move that had begun forgotten."""
        return replace(self, pending=None)

    def settled(self, happened: Callable[[Entry], bool]) -> Journal:
        """After a kill: finished where the data has changed, cancelled where it has not."""
        if self.pending is None:
            return self
        return self.finished() if happened(self.pending.entry) else self.cancelled()

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Every entry, the soonest needed first; the undo side comes first."""
        begun = (self.pending.entry,) if self.pending else ()
        return (*begun, *reversed(self.undo), *reversed(self.redo))

    @property
    def marks(self) -> frozenset[str]:
        """The names of the marks it needs."""
        return frozenset(entry.mark for entry in self.entries if entry.mark)


class JournalFile:
    """The journal of one cluster, through all its incarnations, in the checkout's .drydock; it is replaced whole."""

    def __init__(self, folder: Path, system_identifier: str) -> None:
        self.path = folder / "journal.json"
        self.system_identifier = system_identifier

    def read(self) -> Journal | None:
        """The journal, or None where there is none of this cluster.

        Raises:
            DrydockError: where the file is damaged or of a newer drydock.
        """
        try:
            raw = json.loads(self.path.read_text(encoding="utf-8"))
            journal = _parse(raw)
            return journal if raw["system_identifier"] == self.system_identifier else None
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise DrydockError(
                f"Cannot use {self.path}: {error}.",
                hint="Move it away, it is made anew from the marks:"
                f" mv {word(self.path)} {word(f'{self.path}.broken')}",
            ) from error

    def write(self, journal: Journal) -> None:
        """Record the journal."""
        document = {"version": VERSION, "system_identifier": self.system_identifier, **asdict(journal)}
        write_atomic(self.path, json.dumps(document, indent=1) + "\n")


def _parse(raw: dict[str, Any]) -> Journal:
    if raw["version"] > VERSION:
        raise ValueError(f"a newer drydock wrote it (format {raw['version']})")
    pending = raw["pending"]
    return Journal(
        undo=tuple(map(_entry, raw["undo"])),
        redo=tuple(map(_entry, raw["redo"])),
        pending=Pending(Move(pending["move"]), _entry(pending["entry"])) if pending else None,
    )


def _entry(raw: dict[str, Any]) -> Entry:
    return Entry(**{**raw, "kind": Kind(raw["kind"])})
