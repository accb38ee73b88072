"""`invoke backup.base` against pg_basebackup by hand, in each of its ways to write a tar archive.

Each leaves its copy on disk (fsync), as pg_basebackup does where it writes files itself.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.amount import describe, settle, stocked
from benchmarks.by_hand import size_of
from benchmarks.measure import Limit, Row, interleave, seconds
from drydock.backup.pg_program import ending
from drydock.recovery.bases import base
from drydock.recovery.upkeep import attendant

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.measure import Take
    from tests.checkout import Checkout

ROUNDS = 5
OURS = "`invoke backup.base --no-verify`"
# What the server's build can do: the wheel's knows neither lz4 nor zstd.
HANDS = {
    "pg_basebackup -Ft": (),
    "pg_basebackup -Ft -z --compress=client-gzip:1": ("--compress=client-gzip:1",),
    "pg_basebackup -Ft -z --compress=server-gzip:1": ("--compress=server-gzip:1",),
    "pg_basebackup -Ft -z": ("--gzip",),
}
PLAIN = "pg_basebackup -Ft"
PIPED = "pg_basebackup -Ft -X fetch -D - into zstd -1 -T2"


def measure(rounds: int = ROUNDS, amount: str = "1GB") -> list[Row]:
    """The limit is held against the quickest way to a compressed copy; the plain one is three to ten times as large."""
    rows = []
    for engine in ("embedded", "docker"):
        rows += _measure(engine, rounds, amount)
    return rows


def _measure(engine: str, rounds: int, amount: str) -> list[Row]:
    with stocked(amount, engine) as dock:
        attendant.stop(dock.environment.settings)
        sizes: dict[str, list[float]] = {name: [] for name in (OURS, *HANDS, PIPED)}
        takes = [_ours(dock, sizes[OURS]), *(_by_hand(dock, name, sizes[name]) for name in (*HANDS, PIPED))]
        interleave(1, *takes)
        for kept in sizes.values():
            kept.clear()
        times = dict(zip(sizes, interleave(rounds, *takes), strict=True))
        what = f"{OURS} on {engine}, {describe(dock)}"
    hands = [name for name in sizes if name != OURS]
    quickest = min((name for name in hands if name != PLAIN), key=lambda name: median(times[name]))
    limits = {quickest: Limit(1.15)}
    rows = [Row(what, f"`{name}`", times[OURS], times[name], limits.get(name)) for name in hands]
    rows += [Row(f"{what}: size on disk", f"`{name}`", sizes[OURS], sizes[name], unit="bytes") for name in hands]
    return rows


def _ours(dock: Checkout, sizes: list[float]) -> Take:
    def take() -> float:
        settle(dock)
        took = seconds(lambda: dock.run("backup.base", "--no-verify"))
        made = base.bases(base.archive_of(dock.environment))[-1]
        sizes.append(made.manifest.size)
        shutil.rmtree(made.path)
        return took

    return take


def _by_hand(dock: Checkout, name: str, sizes: list[float]) -> Take:
    def take() -> float:
        folder = dock.root / "by-hand"
        folder.mkdir()
        settle(dock)
        took = seconds(lambda: _pipe(dock, folder) if name == PIPED else _copy(dock, name, folder))
        sizes.append(size_of(folder))
        shutil.rmtree(folder)
        os.sync()
        return took

    return take


def _copy(dock: Checkout, name: str, folder: Path) -> None:
    environment = dock.environment
    words = ["--pgdata=copy", "--format=tar", "--checkpoint=fast", "--no-password", *HANDS[name]]
    process = environment.engine.run("pg_basebackup", words, role=environment.replication, folder=folder)
    with ending(process):
        _, said = process.communicate()
        if process.returncode:
            raise RuntimeError(said.decode(errors="replace"))


def _pipe(dock: Checkout, folder: Path) -> None:
    environment = dock.environment
    words = ["--pgdata=-", "--format=tar", "--wal-method=fetch", "--checkpoint=fast", "--no-password"]
    process = environment.engine.run(
        "pg_basebackup", words, role=environment.replication, folder=folder, stdout=subprocess.PIPE
    )
    with ending(process):
        with (folder / "copy.tar.zst").open("wb") as stream:
            subprocess.run(["zstd", "-1", "-T2", "-q"], stdin=process.stdout, stdout=stream, check=True)
            os.fsync(stream.fileno())
        if process.wait():
            raise RuntimeError("pg_basebackup failed")
