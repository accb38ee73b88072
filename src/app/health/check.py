"""The one type for "how is it?": a measurement of a component, and what to think of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Status(StrEnum):
    """How a check came out; `warn` serves today and needs somebody's attention."""

    PASS = "pass"  # noqa: S105 - the health+json draft's word
    WARN = "warn"
    FAIL = "fail"


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, kw_only=True)
class Check:
    """One measurement.

    Attributes:
        name: `component:measurement`.
        status: what to think of it.
        value: what was observed; None where nothing could be.
        unit: of the value; empty where it has none.
        output: the reason of a status that is not pass, fit for strangers: no address, no name, no text of an error.
        part: which of several things of one kind this is about, such as an extension's name.
        details: further observations.
        cause: for the log alone, such as an error's text.
        time: when it was observed.
    """

    name: str
    status: Status = Status.PASS
    value: str | float | None = None
    unit: str = ""
    output: str = ""
    part: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
    cause: str = ""
    time: datetime = field(default_factory=_now)


def worst(checks: Iterable[Check]) -> Status:
    """The overall status: fail beats warn beats pass."""
    seen = {check.status for check in checks}
    return next((status for status in (Status.FAIL, Status.WARN) if status in seen), Status.PASS)
