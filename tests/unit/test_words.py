from __future__ import annotations

from typing import Any

import pytest
from invoke.collection import Collection
from invoke.config import Config
from invoke.exceptions import Exit
from invoke.executor import Executor
from invoke.parser.parser import Parser
from invoke.program import Program
from invoke.tasks import task

from drydock.tasks.words import LATEST, Default, OptionalWord, WordTask

TAKEN: list[tuple[str, bool, str]] = []


@task(klass=WordTask, positional=["name"])
def send(_context: Any, name: str = "latest", everything: bool = False, label: str = "") -> None:  # noqa: FBT001, FBT002 - Invoke's way
    TAKEN.append((name, everything, label))


@task
def other(_context: Any) -> None:
    TAKEN.append(("other", False, ""))


def test_a_word_that_was_typed_is_told_from_the_default() -> None:
    """Equal, and of another type."""
    given = OptionalWord(name="name", default=LATEST)
    assert isinstance(given.value, Default)
    given.value = "latest"
    assert given.value == LATEST
    assert not isinstance(given.value, Default)


@pytest.mark.parametrize(
    ("words", "taken"),
    [
        ("send", [("latest", False, "")]),
        ("send friday", [("friday", False, "")]),
        ("send --everything", [("latest", True, "")]),
        ("send friday --everything", [("friday", True, "")]),
        ("send --everything friday", [("friday", True, "")]),
        ("send --label x", [("latest", False, "x")]),
        ("send --label x friday", [("friday", False, "x")]),
        ("send --label=x friday", [("friday", False, "x")]),
        ("send --name friday", [("friday", False, "")]),
        ("send friday other", [("friday", False, ""), ("other", False, "")]),
        ("send send", [("send", False, "")]),
        ("other send", [("other", False, ""), ("latest", False, "")]),
        ("send -", [("-", False, "")]),
        ("send a send b", [("a", False, ""), ("b", False, "")]),
    ],
)
def test_a_word_may_be_left_out(words: str, taken: list[tuple[str, bool, str]]) -> None:
    """The word is taken wherever it stands; without one the default is."""
    collection = Collection(send, other)
    TAKEN.clear()
    Executor(collection, Config()).execute(*Parser(contexts=collection.to_contexts()).parse_argv(words.split()))
    assert taken == TAKEN


@pytest.mark.parametrize("words", ["send --everythin", "send -x", "send --everything --lable x"])
def test_an_option_is_no_word(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A misspelt option is refused by name, not taken for what the task works on."""
    with pytest.raises(Exit) as refused:
        Parser(contexts=Collection(send).to_contexts()).parse_argv(words.split())
    assert refused.value.code == 2
    told = capsys.readouterr().err
    assert f"There is no option {[word for word in words.split() if word.startswith('-')][-1]}." in told
    assert "invoke --help send" in told


def test_options_of_invoke_may_follow_the_task(capsys: pytest.CaptureFixture[str]) -> None:
    """`invoke send --help` shows the task's help."""
    Program(namespace=Collection(send)).run(["invoke", "send", "--help"], exit=False)
    assert "--everything" in capsys.readouterr().out
