from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from drydock import console
from drydock.checks import Check, Status
from drydock.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.mark.parametrize(
    ("value", "expected"), [(0.0004, "0 ms"), (0.0426, "43 ms"), (0.999, "999 ms"), (1.0, "1.0 s"), (75.25, "75.2 s")]
)
def test_durations_for_people(value: float, expected: str) -> None:
    """Milliseconds below a second, tenths above."""
    assert console.seconds(value) == expected


@pytest.mark.parametrize(("value", "expected"), [(0, "0 B"), (999, "999 B"), (39_800_000, "40 MB"), (2.5e9, "2.5 GB")])
def test_sizes_for_people(value: float, expected: str) -> None:
    """Decimal units, as disks are sold."""
    assert console.size(value) == expected


@pytest.mark.parametrize(
    ("zone", "expected"), [("UTC", "2026-07-01 12:00:00+00:00"), ("Asia/Kolkata", "2026-07-01 17:30:00+05:30")]
)
def test_moments_for_people(zone: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the clock of this machine, with its offset."""
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert console.local("2026-07-01T12:00:00.123456+00:00") == expected
    finally:
        monkeypatch.undo()
        time.tzset()


def test_columns_are_aligned() -> None:
    """Every column is as wide as its widest cell, and no line ends in spaces."""
    assert list(console.table([("a", "bb", ""), ("aaa", "b", "c")])) == ["a    bb", "aaa  b   c"]
    assert list(console.table([])) == []


def test_json_is_the_only_thing_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    """With --json results and errors are documents; lines for people are left out."""

    def lines() -> Iterator[str]:
        yield "for people"

    speaking = console.Console(json_output=True)
    speaking.step("progress")
    speaking.result({"answer": 42}, lines())
    assert json.loads(capsys.readouterr().out) == {"answer": 42}
    console.Console(json_output=True).error(RefusedError("It was refused.", hint="Ask again."))
    said = capsys.readouterr()
    assert json.loads(said.out) == {"error": "It was refused.", "hint": "Ask again.", "exit_code": 3}
    assert "It was refused." in said.err


def test_a_result_that_tells_of_failures_is_the_only_document(capsys: pytest.CaptureFixture[str]) -> None:
    """What failed on the way, and that something did, is for people then."""
    speaking = console.Console(json_output=True)
    speaking.complaint(RefusedError("One failed.", hint="Look at it."))
    speaking.result({"failed": ["one"]})
    speaking.error(RefusedError("1 of 2 failed."))
    said = capsys.readouterr()
    assert json.loads(said.out) == {"failed": ["one"]}
    assert [word in said.err for word in ("One failed.", "Look at it.", "1 of 2 failed.")] == [True] * 3


def test_a_fix_follows_what_needs_one(capsys: pytest.CaptureFixture[str]) -> None:
    """Passing checks are one line, others carry their fix below."""
    checks = [Check("a:b", Status.PASS, "fine", "never shown"), Check("c:d", Status.FAIL, "broken", "mend it")]
    shown = list(console.Console().checks(checks))
    assert [line.strip() for line in shown[::2]] == [shown[0], "→ mend it"]
    assert len(shown) == 3
    assert capsys.readouterr().out == ""


def test_a_phase_is_timed(capsys: pytest.CaptureFixture[str]) -> None:
    """The line comes when the phase is over; a phase that fails gets none."""
    speaking = console.Console()
    with speaking.phase("migrate"):
        pass
    with pytest.raises(RefusedError), speaking.phase("seed"):
        raise RefusedError("no")
    assert list(speaking.phases) == ["migrate"]
    assert "seed" not in capsys.readouterr().err
