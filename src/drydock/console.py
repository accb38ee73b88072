"""The only module that prints: progress and errors on stderr, results on stdout, or one JSON document with --json."""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

from drydock.checks import Status
from drydock.settings import colourless

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from drydock.checks import Check
    from drydock.errors import DrydockError

SIGNS = {Status.PASS: "✓", Status.WARN: "⚠", Status.FAIL: "✗"}
PLAIN_SIGNS = {Status.PASS: "+", Status.WARN: "!", Status.FAIL: "x"}
COLOURS = {Status.PASS: "32", Status.WARN: "33", Status.FAIL: "31"}


class Console:
    """Where a task's words go.

    Attributes:
        json: True where stdout carries exactly one JSON document.
        phases: seconds by phase, in order, for the JSON result.
    """

    def __init__(self, *, json_output: bool = False) -> None:
        self.json = json_output
        self.phases: dict[str, float] = {}
        self._told = False

    def result(self, data: dict[str, Any], lines: Iterable[str] = ()) -> None:
        """Print a task's result: `data` with --json, `lines` for people otherwise."""
        if self.json:
            self._document(data)
        else:
            for line in lines:
                _out(line)

    def step(self, text: str) -> None:
        """One line of progress."""
        _err(f"  {text}")

    def note(self, text: str) -> None:
        """Something the user should know, and that is no error."""
        _err(f"{_sign(Status.WARN)} {text}")

    def error(self, error: DrydockError) -> None:
        """What failed, and what to do next; with --json a document, where the result is not it."""
        if self.json and not self._told:
            told = {"error": error.message, "hint": error.hint, "exit_code": error.exit_code}
            self._document(told | error.facts)
        self.complaint(error)

    def complaint(self, error: DrydockError) -> None:
        """What failed, for people alone: the result goes on, and has it."""
        _err(f"{_sign(Status.FAIL)} {error.message}")
        if error.hint:
            _err(f"  → {error.hint}")

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time the body, and say so once it is done."""
        begun = time.monotonic()
        with transient(f"  … {name}"):
            yield
        self.phases[name] = round(time.monotonic() - begun, 3)
        _err(f"{_sign(Status.PASS)} {name:<28}{seconds(self.phases[name]):>8}")

    @contextmanager
    def progress(self, title: str, *, in_bytes: bool = False) -> Iterator[Callable[[str, int, int], None]]:
        """A progress bar for counted work or bytes, on terminals; elsewhere the body's calls print nothing."""
        if not sys.stderr.isatty():
            yield lambda _item, _done, _total: None
            return
        from rich.console import Console as Terminal
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        counts = (DownloadColumn(), TransferSpeedColumn()) if in_bytes else (MofNCompleteColumn(),)
        columns = (TextColumn("  {task.description:<26}"), BarColumn(), *counts, TimeRemainingColumn())
        with Progress(*columns, console=Terminal(stderr=True), transient=True) as bar:
            rows: dict[str, Any] = {}

            def advance(item: str, done: int, total: int) -> None:
                if item not in rows:
                    rows[item] = bar.add_task(f"{title} {item}", total=total)
                bar.update(rows[item], completed=done)

            yield advance

    def checks(self, checks: Sequence[Check]) -> Iterator[str]:
        """A line per check, with its fix below where it needs one."""
        for check in checks:
            yield f"{_sign(check.status)} {check.name:<24}{check.detail}"
            if check.fix and check.status is not Status.PASS:
                yield f"    → {check.fix}"

    def _document(self, data: dict[str, Any]) -> None:
        self._told = True
        _out(json.dumps(data, indent=2, default=str))


def stream(lines: Iterable[str]) -> None:
    """Print lines as they come."""
    for line in lines:
        _out(line)


def confirm(question: str, expected: str) -> bool:
    """Ask on the terminal and compare with the one answer that means yes; False where there is no terminal."""
    if not sys.stdin.isatty():
        return False
    print(question, end=" ", file=sys.stderr, flush=True)  # noqa: T201 - the module that prints
    return sys.stdin.readline().strip() == expected


def table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Rows with their columns aligned."""
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))] if rows else []
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def seconds(value: float) -> str:
    """A duration for people."""
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"


def size(value: float) -> str:
    """A number of bytes for people."""
    for unit in ("B", "kB", "MB"):
        if value < 1000:  # noqa: PLR2004 - SI
            return f"{value:.0f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def local(moment: str) -> str:
    """A moment (ISO 8601, with its offset) on this machine's clock, with the offset of that: for people."""
    return datetime.fromisoformat(moment).astimezone().isoformat(sep=" ", timespec="seconds")


@contextmanager
def transient(text: str) -> Iterator[None]:
    """Show what is being waited for while the body runs, on terminals only."""
    if not sys.stderr.isatty():
        yield
        return
    sys.stderr.write(text)
    sys.stderr.flush()
    try:
        yield
    finally:
        sys.stderr.write("\r\x1b[2K")
        sys.stderr.flush()


def _sign(status: Status) -> str:
    """The sign of a status: its shape says it too, not its colour alone."""
    signs = SIGNS if (sys.stderr.encoding or "").lower().startswith("utf") else PLAIN_SIGNS
    if not sys.stderr.isatty() or colourless():
        return signs[status]
    return f"\x1b[{COLOURS[status]}m{signs[status]}\x1b[0m"


def _out(text: str) -> None:
    try:
        print(text, flush=True)  # noqa: T201 - the module that prints
    except BrokenPipeError:
        # Whoever reads has seen enough (`invoke history | head`): that is no failure of the task. As in the manual of
        # Python's `signal`, nothing may be written there again, the flush at exit included.
        with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - a device
            os.dup2(nowhere.fileno(), sys.stdout.fileno())


def _err(text: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[2K")
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - the module that prints
