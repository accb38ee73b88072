"""What a crash costs that takes the data volume along: `benchmarks/rpo.py [--engine E] [--kills N]`.

Single-row commits, one after another; amid them SIGKILL for Postgres, in every other round for the archiver as well:
`kill -9`, or with --docker-kill as Docker's API does it, which starts programs that take the processors just before.
Then the transactions whose commit the server had acknowledged are looked for in the archive's files, which are all that
is left where the volume is gone. `up` brings the server back for the next round.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def main() -> int:
    """Kill as often as asked, and print each round and the sum; the exit code says whether the promise was kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", choices=("docker", "embedded"), default="embedded")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--commits", type=int, default=2000, help="before each kill")
    parser.add_argument("--synchronous", action="store_true", help="with WAL_ARCHIVE_SYNCHRONOUS=on")
    parser.add_argument(
        "--docker-kill", action="store_true", help="by Docker's API instead of kill -9, which asks for root"
    )
    options = parser.parse_args()
    sys.path[0] = str(ROOT)
    commits, stage = (importlib.import_module(name) for name in ("tests.commits", "benchmarks.stage"))
    rounds = []
    with stage.checkout(options.engine) as dock:
        if options.synchronous:
            dock.configure(WAL_ARCHIVE_SYNCHRONOUS="on")
            dock.run("up")
        for number in range(options.kills):
            everything = bool(number % 2)
            by_kernel = not options.docker_kill
            rounds.append(commits.lost(dock, options.commits, everything=everything, by_kernel=by_kernel))
            what = "Postgres and archiver" if everything else "Postgres"
            print(f"{number + 1:3}  {what:<24}{rounds[-1][0]:>8} acknowledged  {rounds[-1][1]} lost", flush=True)
            dock.run("up")
    made, missing = (sum(column) for column in zip(*rounds, strict=True))
    worst = max(lost for _, lost in rounds)
    print(f"{options.engine}: {made} commits, {missing} lost in {len(rounds)} kills, {worst} at most in one")
    return 0 if worst <= (0 if options.synchronous else 1) else 1


if __name__ == "__main__":
    sys.exit(main())
