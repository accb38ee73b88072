"""A word after a task's name that may be left out: `invoke backup.push` and `invoke backup.push friday`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from invoke.exceptions import Exit
from invoke.parser.argument import Argument
from invoke.tasks import Task

from drydock.console import Console
from drydock.errors import SettingsError

if TYPE_CHECKING:
    from types import FrameType


class Default(str):
    """A word that stands for none given: equal to the same word typed, and to be told from it by its type."""

    __slots__ = ()


LATEST = Default("latest")


class OptionalWord(Argument):
    """A positional argument with a default.

    Invoke gives a word to a positional argument whose value is None, and in the end calls it missing for the same
    reason. So it is None while Invoke's parser looks for somebody to take a word, and the default at any other time.
    """

    @property
    def value(self) -> Any:
        """What was given, or the default."""
        if self._value is None and _open_to(_in_parser()):
            return None
        return self._value if self._value is not None else self.default

    @value.setter
    def value(self, text: str) -> None:
        self.set_value(text)


class WordTask(Task):  # type: ignore[type-arg]
    """A task whose positional arguments with a default may be left out: `command(klass=WordTask, positional=…)`."""

    def get_arguments(self, ignore_unknown_help: bool | None = None) -> list[Argument]:
        """The task's arguments."""
        return [
            OptionalWord(names=(arg.name or "", *arg.nicknames), help=arg.help, default=arg.default, positional=True)
            if arg.positional and arg.default is not None
            else arg
            for arg in super().get_arguments(ignore_unknown_help)
        ]


def _in_parser() -> FrameType:
    """The nearest call on the stack that is of Invoke's parser; the outermost of all outside of it."""
    frame = sys._getframe(1)  # noqa: SLF001 - the interpreter's own way to look at the stack
    while frame.f_back and frame.f_globals["__name__"] != "invoke.parser.parser":
        frame = frame.f_back
    return frame


def _open_to(call: FrameType) -> bool:
    """True where the call is one of the two that hand out words, and has one: an option is nobody's word.

    Raises:
        Exit: where it has an option that neither the task nor Invoke knows. Both look for theirs at another time.
    """
    if call.f_code.co_name != "handle":
        return call.f_code.co_name == "see_positional_arg"
    parser, word = call.f_locals["self"], call.f_locals["token"]
    if not word.startswith("-") or word == "-":
        return True
    if parser.initial and word in parser.initial.flags:
        return False
    task = min((parser.context.name, *parser.context.aliases), key=len)
    unknown = SettingsError(f"There is no option {word}.", hint=f"invoke --help {task}")
    Console(json_output="--json" in sys.argv).error(unknown)
    raise Exit(code=unknown.exit_code)
