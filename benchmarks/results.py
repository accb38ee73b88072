"""RESULTS.md: the last row of every measurement, with the machine it was taken on."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import psutil

from benchmarks.measure import run
from drydock.engine import wheels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.measure import Row

RESULTS = Path(__file__).with_name("RESULTS.md")
LIBRARIES = ("invoke", "alembic", "SQLAlchemy", "psycopg", "docker")
INTRODUCTION = """# Benchmarks: the last table

`python benchmarks/run.py` prints and writes this. The sides of a row are measured in the same run and take turns
(A B A B …); the ratio is the median of the rounds' ratios, and the limit is held against it. A limit with ≤ bounds our
time or bytes over theirs, one with ≥ our speed over theirs; a row without a limit is for information. `quickest` is the
ratio of each side's quickest round, and `load` the machine's load average of five minutes at the end of a measurement:
other work on the same cores disturbs the one least and shows in the other.
"""
HEAD = """
| subject | ours | against | median | theirs | ratio (lowest, highest) | quickest | limit | met | rounds | load | UTC |
|---|---|---|---:|---:|---:|---:|---:|---|---:|---:|---|
"""


def keep(order: Sequence[str], subject: str, rows: Sequence[Row]) -> str:
    """Put a subject's rows in the place of its former ones; returns them as lines.

    Args:
        order: all subjects, as the table has them.
        subject: whose rows these are.
        rows: of the measurement that has just ended.
    """
    lines, machine = [_line(subject, row) for row in rows], _machine()
    before = RESULTS.read_text(encoding="utf-8") if RESULTS.exists() else ""
    # One table, one machine: rows of another machine or of other versions go.
    table = {name: [line for line in before.splitlines() if line.startswith(f"| {name} |")] for name in order}
    table = (table if machine in before else {}) | {subject: lines}
    body = "\n".join(line for name in order for line in table.get(name, ()))
    RESULTS.write_text(f"{INTRODUCTION}\n{machine}\n{HEAD}{body}\n", encoding="utf-8")
    return "\n".join(lines)


def _line(subject: str, row: Row) -> str:
    span = f"{row.ratio:.2f} ({min(row.ratios):.2f}, {max(row.ratios):.2f})"
    met = {None: "", True: "yes", False: "**no**"}[row.met]
    cells = (
        subject,
        row.what,
        row.against,
        _value(median(row.ours), row.unit),
        _value(median(row.theirs), row.unit),
        span,
        f"{row.undisturbed:.2f}",
        str(row.limit or ""),
        met,
        str(len(row.ours)),
        f"{os.getloadavg()[1]:.1f}",
        f"{datetime.now(UTC):%Y-%m-%d %H:%M}",
    )
    return f"| {' | '.join(cells)} |"


def _value(value: float, unit: str) -> str:
    if unit == "bytes":
        return f"{value / 1e6:.1f} MB"
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.2f} s"


def _machine() -> str:
    """Cores, memory and the versions of everything that takes part; no names and no paths of the machine."""
    found = wheels.versions()
    versions = {
        "Python": platform.python_version(),
        **{name: version(name) for name in LIBRARIES},
        "Docker engine": run(["docker", "version", "--format", "{{.Server.Version}}"]).strip(),
        "Compose": run(["docker", "compose", "version", "--short"]).strip(),
        "PostgreSQL": found.postgres,
        "pgvector": found.vector,
        "Redis": found.redis,
    }
    memory = psutil.virtual_memory().total / 2**30
    hardware = f"{platform.system()} {platform.machine()}, {psutil.cpu_count()} cores, {memory:.0f} GiB"
    return f"Machine: {hardware}. Versions: {', '.join(f'{name} {number}' for name, number in versions.items())}."
