"""`invoke backup --no-verify` against pg_dump by hand, with its memory, its size, and what encrypting adds."""

from __future__ import annotations

import json
import os
import re
import shutil
import threading
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Self

from pyrage import x25519

from benchmarks.amount import describe, stocked
from benchmarks.by_hand import DUMPS, PIPE, dump, size_of
from benchmarks.measure import Limit, Row, interleave, seconds

if TYPE_CHECKING:
    import subprocess

    from benchmarks.measure import Take
    from tests.checkout import Checkout

ROUNDS = 5
DEFAULT = "pg_dump -Fc"
MEMORY = 200e6
OURS, SEALED = "`invoke backup --no-verify`", "`invoke backup --no-verify`, encrypted"
LOOK = 0.02  # seconds


@dataclass
class Side:
    """One way to make a backup: bytes on disk and the most memory it took in bytes, one of each round."""

    sizes: list[float] = field(default_factory=list)
    peaks: list[float] = field(default_factory=list)


def measure(rounds: int = ROUNDS, amount: str = "1GB") -> list[Row]:
    """The limits are held against the quickest call of pg_dump that there is here, and against its default."""
    with stocked(amount) as dock:
        hands = [*DUMPS, PIPE]
        sides = {name: Side() for name in (OURS, SEALED, *hands)}
        key = str(x25519.Identity.generate().to_public())
        takes = [_ours(dock, sides[OURS]), _ours(dock, sides[SEALED], BACKUP_RECIPIENTS=key)]
        takes += [_by_hand(dock, name, sides[name]) for name in hands]
        interleave(1, *takes)
        times = dict(zip(sides, interleave(rounds, *takes), strict=True))
        what = describe(dock)
    quickest = min(hands, key=lambda name: median(times[name]))
    limits = {DEFAULT: Limit(3, at_least=True)} | {quickest: Limit(1.15)}
    rows = [Row(f"{OURS}, {what}", f"`{name}`", times[OURS], times[name], limits.get(name)) for name in hands]
    rows.append(Row(f"{SEALED}, {what}", "the same without encryption", times[SEALED], times[OURS], Limit(1.25)))
    return [*rows, *_memory(sides), *_sizes(sides)]


def _memory(sides: dict[str, Side]) -> list[Row]:
    return [
        Row(f"{name}: peak memory", "a fixed 200 MB", peaks, [MEMORY] * len(peaks), Limit(1), unit="bytes")
        for name, peaks in ((name, sides[name].peaks) for name in (OURS, SEALED))
    ]


def _sizes(sides: dict[str, Side]) -> list[Row]:
    ours = sides[OURS].sizes
    return [
        Row(f"{OURS}: size on disk", f"`{name}`", ours, side.sizes, unit="bytes")
        for name, side in sides.items()
        if name not in {OURS, SEALED}
    ]


def _ours(dock: Checkout, side: Side, **variables: str) -> Take:
    def take() -> float:
        os.sync()
        took = seconds(lambda: done.append(_backup(dock, variables)))
        path, peak = done.pop()
        side.sizes.append(size_of(path))
        side.peaks.append(peak)
        shutil.rmtree(path)
        return took

    done: list[tuple[Path, float]] = []
    return take


def _backup(dock: Checkout, variables: dict[str, str]) -> tuple[Path, float]:
    """The folder that the task made, and the most memory that its process had (bytes)."""
    process = dock.start("backup", "--no-verify", "--json", **variables)
    with _Peak(process) as peak:
        out, err = process.communicate()
    if process.returncode:
        raise RuntimeError(err)
    return Path(json.loads(out)["path"]), peak.value


class _Peak:
    """The high-water mark of a process's resident memory in bytes (proc(5): VmHWM), looked at until it ends.

    What the system tells of a process that has ended would be that of a child where one took more.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.path = Path(f"/proc/{process.pid}/status")
        self.value = 0.0
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._watch, name="memory")

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join()

    def _watch(self) -> None:
        while not self.over.wait(LOOK):
            # Not in the status of one that has ended and is not waited for yet.
            if self.path.exists() and (found := re.search(r"VmHWM:\s+(\d+) kB", self.path.read_text())):
                self.value = float(found[1]) * 1024


def _by_hand(dock: Checkout, name: str, side: Side) -> Take:
    def take() -> float:
        folder = dock.root / "by-hand"
        folder.mkdir()
        os.sync()
        took = seconds(lambda: dump(dock.environment, name, folder))
        side.sizes.append(size_of(folder))
        shutil.rmtree(folder)
        return took

    return take
