"""Run the benchmarks, print their table and keep it: `python benchmarks/run.py [--only NAME] [--rounds N]`.

Needs a Docker engine and the wheels of the embedded extra; per_test also needs pytest-postgresql, which belongs to no
extra: pip install "pytest-postgresql>=10,<11". All of it takes about a quarter of an hour.
"""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOUNDATION = ("cold_up", "warm", "listing", "resets", "seeding")
DATA_LAYER = ("checkout", "per_test", "bulk", "vectors", "tenancy", "baselines")
SUBJECTS = (*FOUNDATION, *DATA_LAYER)


def main() -> int:
    """Measure each subject; the exit code says whether every limit was met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=SUBJECTS, action="append", help="measure this; may be given again")
    parser.add_argument("--rounds", type=int, help="rounds of everything, where the subjects' own numbers will not do")
    options = parser.parse_args()
    # Whoever wants none written does not want to measure how long Python takes to compile.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    # An end on request is to clean up as Ctrl-C does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    sys.path[0] = str(ROOT)
    results = importlib.import_module("benchmarks.results")
    missed = 0
    for name in options.only or SUBJECTS:
        rounds = {"rounds": options.rounds} if options.rounds else {}
        rows = importlib.import_module(f"benchmarks.{name}").measure(**rounds)
        print(results.keep(SUBJECTS, name, rows), flush=True)
        missed += sum(row.met is False for row in rows)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
