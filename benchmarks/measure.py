"""Timing that holds on a busy machine: the sides take turns, and each ratio is of two neighbours in time."""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    Take = Callable[[], float]


@dataclass(frozen=True)
class Limit:
    """What a ratio is to keep to: `ours / theirs` at most, or, with `at_least`, `theirs / ours` at least."""

    value: float
    at_least: bool = False

    def __str__(self) -> str:
        """As the table shows it."""
        return f"{'≥' if self.at_least else '≤'} {self.value:g}"


@dataclass(frozen=True)
class Row:
    """One line of the table: what was measured against what.

    Attributes:
        what: the command or step that is ours.
        against: the floor or peer.
        ours: one of each round, in the row's unit.
        theirs: of the same rounds.
        limit: None where the row is for information only.
        unit: `seconds` or `bytes`.
    """

    what: str
    against: str
    ours: Sequence[float]
    theirs: Sequence[float]
    limit: Limit | None = None
    unit: str = "seconds"

    @property
    def ratios(self) -> list[float]:
        """The ratio of each round: a factor of time, or of speed where the limit is a lower one."""
        return [self._ratio(ours, theirs) for ours, theirs in zip(self.ours, self.theirs, strict=True)]

    @property
    def ratio(self) -> float:
        """The median of the rounds' ratios."""
        return median(self.ratios)

    @property
    def undisturbed(self) -> float:
        """The ratio of the quickest rounds: what other work on the machine distorts least."""
        return self._ratio(min(self.ours), min(self.theirs))

    @property
    def met(self) -> bool | None:
        """Whether the limit is kept; None where there is none."""
        if self.limit is None:
            return None
        return self.ratio >= self.limit.value if self.limit.at_least else self.ratio <= self.limit.value

    def _ratio(self, ours: float, theirs: float) -> float:
        return theirs / ours if self.limit is not None and self.limit.at_least else ours / theirs


def seconds(work: Callable[[], object]) -> float:
    """How long `work` takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def interleave(rounds: int, *sides: Take) -> list[list[float]]:
    """Let the sides take turns, A B A B …, so that a machine's drift hits each alike; seconds by side and round.

    A side gives its own seconds, so that what it does before and after is not counted.
    """
    turns = [[side() for side in sides] for _ in range(rounds)]
    return [list(side) for side in zip(*turns, strict=True)]


def run(command: Sequence[str], folder: Path | None = None, environment: Mapping[str, str] | None = None) -> str:
    """Run a program to its end and return what it printed.

    Raises:
        RuntimeError: with all it said, where it fails.
    """
    done = subprocess.run(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} -> {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout
