"""Positional arguments that may be left out, which Invoke does not have: it knows required ones and flags."""

from __future__ import annotations

import sys
from typing import Any

from invoke.parser.argument import Argument
from invoke.tasks import Task


class Omissible(Argument):
    """An argument taken by its position where it is given, and None where it is not.

    Invoke's parser asks the same question, which positional arguments have no value yet, for two reasons: to give the
    next word to one of them, and, once a task's words are over, to complain. Only the second asker gets another answer.
    """

    @property
    def value(self) -> Any:
        """What was given; None before."""
        given = super().value
        return "" if given is None and _completing() else given

    @value.setter
    def value(self, word: Any) -> None:
        self.set_value(word, cast=True)


class OmissibleTask(Task[Any]):
    """A task some of whose positional arguments may be left out; its body gets their defaults then."""

    omissible: tuple[str, ...] = ()

    def get_arguments(self, ignore_unknown_help: bool | None = None) -> list[Argument]:
        """As the signature has them, with the omissible ones first."""
        found = super().get_arguments(ignore_unknown_help)
        first = [_omissible(argument) for argument in found if argument.name in self.omissible]
        return [*first, *(argument for argument in found if argument.name not in self.omissible)]


def _omissible(argument: Argument) -> Argument:
    return Omissible(names=argument.names, help=argument.help, positional=True, attr_name=argument.attr_name)


def _completing() -> bool:
    frame = sys._getframe(2)  # noqa: SLF001 - the documented way to one's caller
    for _ in range(3):
        if frame.f_code.co_name == "complete_context":
            return True
        if frame.f_back is None:
            return False
        frame = frame.f_back
    return False
