"""`seed` against a bare binary COPY of the same rows into the same tables, index builds included on both sides."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.measure import Limit, Row, interleave, run, seconds
from benchmarks.stage import checkout

ROUNDS = 3
SIZE = "medium"
SCRIPT = Path(__file__).with_name("floor_copy.py")


def measure(rounds: int = ROUNDS) -> list[Row]:
    """Rows per second of `invoke seed` over those of the bare COPY; and, to place both, what making the rows takes."""
    with checkout("docker") as dock:
        # The superuser: the tables' owner would be refused, COPY being no way past row-level security.
        url = dock.environment.database_url(dock.environment.superuser)
        environ = dock.environ | {"PYTHONPATH": str(dock.root / "src")}

        def empty() -> None:
            dock.query("TRUNCATE organizations CASCADE", role="superuser")
            dock.query("CHECKPOINT", role="superuser")

        def ours() -> float:
            empty()
            return seconds(lambda: dock.run("seed", "--size", SIZE))

        def theirs() -> float:
            empty()
            return seconds(lambda: run([sys.executable, str(SCRIPT), SIZE, url], dock.root, environ))

        def rows() -> float:
            return seconds(lambda: run([sys.executable, str(SCRIPT), SIZE], dock.root, environ))

        seeds, copies, made = interleave(rounds, ours, theirs, rows)
        (count,) = dock.query("SELECT count(*) FROM messages")[0]
    against = "bare binary COPY, then the indexes"
    return [
        Row(f"`invoke seed`, docker, {count:,} messages", against, seeds, copies, Limit(0.8, at_least=True)),
        Row("making the same rows, no server", against, made, copies),
    ]
