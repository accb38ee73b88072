"""The one type for "is it right?": readiness, status, doctor and the tests all speak in checks."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class Status(StrEnum):
    """How a check came out; `warn` works today and will bite."""

    PASS = "pass"  # noqa: S105 - the health+json draft's word
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Check:
    """One answered question.

    Attributes:
        name: `component:measurement`, as application/health+json has it.
        status: how it came out.
        detail: what was seen, one sentence or less.
        fix: the next command or change; empty on a pass.
        seconds: how long the answer took.
    """

    name: str
    status: Status
    detail: str = ""
    fix: str = ""
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        """True for a pass and for a warning."""
        return self.status is not Status.FAIL


def worst(checks: Iterable[Check]) -> Status:
    """The overall outcome: fail beats warn beats pass."""
    seen = {check.status for check in checks}
    return next((status for status in (Status.FAIL, Status.WARN) if status in seen), Status.PASS)
