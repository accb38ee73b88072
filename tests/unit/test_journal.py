"""The journal of undo and redo against a plain list of states with a cursor; and what a kill leaves of its file."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from drydock.errors import DrydockError, RefusedError
from drydock.recovery.way_back import journal as journals
from drydock.recovery.way_back.journal import Entry, Journal, JournalFile, Kind, Move

if TYPE_CHECKING:
    from pathlib import Path

SYSTEM = "7555000111222333444"


def entry(state: int, task: str = "reset") -> Entry:
    """An entry whose other side is a state, told by the name of its mark."""
    return Entry(
        id=f"{state:08x}",
        task=task,
        when="2026-11-21T10:00:00+00:00",
        kind=Kind.IN_PLACE,
        incarnation=1,
        mark=str(state),
    )


class UndoAndRedo(RuleBasedStateMachine):
    """States of the data in a list with a cursor, which is how everybody thinks of undo; and kills in between."""

    def __init__(self) -> None:
        super().__init__()
        self.journal = Journal()
        self.states, self.cursor, self.next = [0], 0, 1

    def move(self, move: Move, *, killed: bool, happened: bool, task: str = "") -> bool:
        """Begin a move and finish it, or be killed before or after the data changed; True where it has changed."""
        self.journal = self.journal.begun(move, entry(self.states[self.cursor], task))
        if killed:
            self.journal = self.journal.settled(lambda _entry: happened)
            return happened
        self.journal = self.journal.finished()
        return True

    @rule(killed=st.booleans(), happened=st.booleans())
    def change(self, killed: bool, happened: bool) -> None:  # noqa: FBT001 - hypothesis passes by name
        """A task changes the data."""
        if self.move(Move.CHANGE, killed=killed, happened=happened, task=f"to {self.next}"):
            self.states = [*self.states[: self.cursor + 1], self.next]
            self.cursor += 1
            self.next += 1

    @precondition(lambda self: self.cursor > 0)
    @rule(killed=st.booleans(), happened=st.booleans())
    def undo(self, killed: bool, happened: bool) -> None:  # noqa: FBT001 - hypothesis passes by name
        """The top of the undo side names the state before."""
        assert self.journal.top(Move.UNDO).mark == str(self.states[self.cursor - 1])
        if self.move(Move.UNDO, killed=killed, happened=happened):
            self.cursor -= 1

    @precondition(lambda self: self.cursor < len(self.states) - 1)
    @rule(killed=st.booleans(), happened=st.booleans())
    def redo(self, killed: bool, happened: bool) -> None:  # noqa: FBT001 - hypothesis passes by name
        """The top of the redo side names the state after."""
        assert self.journal.top(Move.REDO).mark == str(self.states[self.cursor + 1])
        if self.move(Move.REDO, killed=killed, happened=happened):
            self.cursor += 1

    @invariant()
    def both_sides_are_the_list(self) -> None:
        """The stacks are what lies before and after the cursor, and each entry still knows which change it is about."""
        assert [e.mark for e in self.journal.undo] == [str(s) for s in self.states[: self.cursor]][-journals.LEVELS :]
        assert [e.mark for e in reversed(self.journal.redo)] == [str(s) for s in self.states[self.cursor + 1 :]]
        done = [*self.journal.undo, *reversed(self.journal.redo)]
        assert [e.task for e in done] == [f"to {state}" for state in self.states[1:]][-len(done) or len(self.states) :]
        assert self.journal.pending is None


TestUndoAndRedo = UndoAndRedo.TestCase


MOVES = st.lists(st.sampled_from(Move), max_size=20)


def played(moves: list[Move]) -> Journal:
    """A journal after some moves; those that have nothing to take are left out."""
    journal = Journal()
    for number, move in enumerate(moves):
        if move is Move.CHANGE or (journal.undo if move is Move.UNDO else journal.redo):
            journal = journal.begun(move, entry(number)).finished()
    return journal


@given(MOVES)
def test_undo_then_redo_is_the_identity(moves: list[Move]) -> None:
    """Where redo brings back the state that undo left, nothing of the journal is different but what it left."""
    before = played(moves)
    if not before.undo:
        return
    here, there = entry(1000), before.top(Move.UNDO)
    after = before.begun(Move.UNDO, here).finished()
    assert after.top(Move.REDO).mark == here.mark
    assert after.begun(Move.REDO, there).finished() == before


@given(MOVES)
def test_a_change_leaves_nothing_to_do_again(moves: list[Move]) -> None:
    """After it only the undo side has anything, with the change on top."""
    journal = played([*moves, Move.CHANGE])
    assert journal.redo == ()
    assert journal.undo


@pytest.mark.parametrize(("move", "words"), [(Move.UNDO, "nothing to undo"), (Move.REDO, "nothing to do again")])
def test_an_empty_side_refuses(move: Move, words: str) -> None:
    """Where there is nothing to take it says so, and begins nothing."""
    with pytest.raises(RefusedError, match=words):
        Journal().begun(move, entry(1))


def test_the_oldest_level_goes_first() -> None:
    """There are so many levels and no more."""
    journal = played([Move.CHANGE] * (journals.LEVELS + 2))
    assert [e.mark for e in journal.undo] == [str(n) for n in range(2, journals.LEVELS + 2)]
    assert journal.marks == {str(n) for n in range(2, journals.LEVELS + 2)}


@settings(deadline=None)  # each example waits for the disk
@given(MOVES, st.booleans())
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, moves: list[Move], begun: bool) -> None:  # noqa: FBT001 - hypothesis passes by name
    """Any journal survives its file, with what has begun."""
    file = JournalFile(tmp_path_factory.getbasetemp(), SYSTEM)
    journal = played(moves)
    journal = journal.begun(Move.CHANGE, entry(77)) if begun else journal
    file.write(journal)
    assert file.read() == journal


def test_there_is_no_journal_of_another_cluster(tmp_path: Path) -> None:
    """A journal of the cluster before `destroy` is none of the next one's."""
    JournalFile(tmp_path, "1").write(played([Move.CHANGE]))
    assert JournalFile(tmp_path, SYSTEM).read() is None
    assert JournalFile(tmp_path / "nowhere", SYSTEM).read() is None


def test_a_write_that_fails_leaves_the_journal_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped anywhere in the writing, what is read is the journal from before, and nothing lies about."""
    file, before = JournalFile(tmp_path, SYSTEM), played([Move.CHANGE])
    file.write(before)

    def stop(*_arguments: object) -> None:
        raise KeyboardInterrupt

    for name in ("os.fchmod", "os.fsync", "pathlib.Path.replace"):
        with monkeypatch.context() as patched:
            patched.setattr(name, stop)
            with pytest.raises(KeyboardInterrupt):
                file.write(played([Move.CHANGE, Move.CHANGE]))
        assert file.read() == before
        assert [path.name for path in tmp_path.iterdir()] == ["journal.json"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda _text: "",
        lambda text: text[:-20],
        lambda _text: "[]",
        lambda text: text.replace('"in place"', '"elsewhere"'),
        lambda text: text.replace('"undo"', '"undone"'),
        lambda text: text.replace('"version": 1', '"version": 2'),
    ],
    ids=["empty", "cut off", "of another form", "unknown kind", "a key missing", "newer"],
)
def test_a_damaged_journal_is_a_sentence(tmp_path: Path, damage: object) -> None:
    """What cannot be read is named, with how to go on without it."""
    assert callable(damage)
    file = JournalFile(tmp_path, SYSTEM)
    file.write(played([Move.CHANGE]))
    file.path.write_text(damage(file.path.read_text()))
    with pytest.raises(DrydockError, match=r"journal\.json") as caught:
        file.read()
    assert "from the marks" in caught.value.hint


def test_a_change_that_was_killed_is_what_the_data_says(tmp_path: Path) -> None:
    """A journal with a change begun and not finished is settled by a look at the data, and either way it is whole."""
    file = JournalFile(tmp_path, SYSTEM)
    file.write(played([Move.CHANGE, Move.CHANGE, Move.UNDO]).begun(Move.CHANGE, replace(entry(9), task="seed")))
    found = file.read()
    assert found is not None
    assert [e.task for e in found.settled(lambda e: e.task == "seed").undo] == ["reset", "seed"]
    assert found.settled(lambda _e: False) == played([Move.CHANGE, Move.CHANGE, Move.UNDO])
    assert json.loads(file.path.read_text())["pending"]["move"] == "change"
