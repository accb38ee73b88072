"""Run the benchmarks, print their table and keep it: `python benchmarks/run.py [--only NAME] [--rounds N]`.

Needs a Docker engine and the wheels of the embedded extra; per_test also needs pytest-postgresql, which belongs to no
extra: pip install "pytest-postgresql>=10,<11". Those of backups need the test extra, the program zstd, and pip for
snapshots; all but the last are measured with each amount of data, or with that of `--data`, and so is rewinds, which
takes Barman from pip where rsync is installed, and pgBackRest where that is, from 2.48 on. All of it takes about two
hours, most of it for restores with 1 GB.
"""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).parents[1]
FOUNDATION = ("cold_up", "warm", "listing", "resets", "seeding")
DATA_LAYER = ("checkout", "per_test", "bulk", "vectors", "tenancy", "baselines")
# Measured with each amount of data.
SIZED = ("backups", "restores", "pushes", "bases", "rewinds")
BACKUPS = ("backups", "restores", "pushes", "bases", "snapshots")
TIME_TRAVEL = ("archive", "history", "rewinds")
SUBJECTS = (*FOUNDATION, *DATA_LAYER, *BACKUPS, *TIME_TRAVEL)
AMOUNTS = ("100MB", "1GB")


def main() -> int:
    """Measure each subject; the exit code says whether every limit was met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=SUBJECTS, action="append", help="measure this; may be given again")
    parser.add_argument("--rounds", type=int, help="rounds of everything, where the subjects' own numbers will not do")
    parser.add_argument("--data", choices=AMOUNTS, action="append", help="the sized subjects with this much data only")
    options = parser.parse_args()
    # Whoever wants none written does not want to measure how long Python takes to compile.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    # An end on request is to clean up as Ctrl-C does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    sys.path[0] = str(ROOT)
    results = importlib.import_module("benchmarks.results")
    order = [f"{name} {amount}".rstrip() for name, amount in _measurements(SUBJECTS, AMOUNTS)]
    missed = 0
    for name, amount in _measurements(options.only or SUBJECTS, options.data or AMOUNTS):
        given = {"rounds": options.rounds} if options.rounds else {}
        given |= {"amount": amount} if amount else {}
        rows = importlib.import_module(f"benchmarks.{name}").measure(**given)
        print(results.keep(order, f"{name} {amount}".rstrip(), rows), flush=True)
        missed += sum(row.met is False for row in rows)
    return 1 if missed else 0


def _measurements(subjects: Sequence[str], amounts: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Each subject, and how much data it is measured with: empty where that is its own affair."""
    for name in subjects:
        for amount in amounts if name in SIZED else ("",):
            yield name, amount


if __name__ == "__main__":
    sys.exit(main())
