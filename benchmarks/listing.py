"""`invoke --list`: what importing every task costs beyond Invoke's own start."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from benchmarks.measure import Limit, Row, interleave, run, seconds
from tests.checkout import ROOT

ROUNDS = 15
EMPTY = '''"""A tasks.py with nothing in it but a task."""

from invoke import task


@task
def nothing(_context):
    """Do nothing."""
'''


def measure(rounds: int = ROUNDS) -> list[Row]:
    """`invoke --list` in this repository against the same for a tasks.py of one trivial task."""
    command = [sys.executable, "-m", "invoke", "--list"]
    with tempfile.TemporaryDirectory(prefix="drydock-benchmark-") as folder:
        (Path(folder) / "tasks.py").write_text(EMPTY, encoding="utf-8")

        def ours() -> float:
            return seconds(lambda: run(command, ROOT))

        def theirs() -> float:
            return seconds(lambda: run(command, Path(folder)))

        interleave(1, ours, theirs)
        full, empty = interleave(rounds, ours, theirs)
    return [Row("`invoke --list`", "the same with one trivial task", full, empty, Limit(1.25))]
