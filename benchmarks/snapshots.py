"""DSLR, which keeps snapshots as databases of the same server, beside `reset`, its equal, and `backup`, which is not.

Barman and pgBackRest copy the data directory and its WAL, which is another job than a dump: see rewinds.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.amount import describe, settle
from benchmarks.measure import Row, interleave, run, seconds
from benchmarks.stage import checkout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.measure import Take
    from tests.checkout import Checkout

ROUNDS = 5
PEER = "dslr[psycopg2-binary]>=0.6,<0.7"
KEPT, TRIED = "kept", "tried"
SIZE = "medium"


def measure(rounds: int = ROUNDS) -> list[Row]:
    """Going back to a known state, and keeping the present one."""
    with checkout("docker") as dock, _installed() as program:
        dock.run("reset", "--size", SIZE)
        dslr = _Dslr(dock, program)
        dslr("snapshot", KEPT)
        takes = [
            _alone(dock, lambda: dock.run("reset", "--size", SIZE)),
            _alone(dock, lambda: dslr("restore", KEPT)),
            _alone(dock, lambda: dock.run("backup", "--no-verify"), lambda: shutil.rmtree(dock.root / "backups/dumps")),
            _alone(dock, lambda: dslr("snapshot", TRIED), lambda: dslr("delete", TRIED)),
        ]
        interleave(1, *takes)
        resets, restores, backups, snapshots = interleave(rounds, *takes)
        what = describe(dock)
    return [
        Row(f"`invoke reset`, {what}", "`dslr restore`", resets, restores),
        Row(f"`invoke backup --no-verify`, {what}", "`dslr snapshot`, which stays in the server", backups, snapshots),
    ]


@contextmanager
def _installed() -> Iterator[str]:
    """DSLR in a virtual environment of its own, for it takes another version of rich than drydock; its program."""
    with tempfile.TemporaryDirectory(prefix="drydock-benchmark-") as folder:
        run([sys.executable, "-m", "venv", folder])
        run([f"{folder}/bin/pip", "install", "--quiet", PEER])
        yield str(Path(folder) / "bin" / "dslr")


class _Dslr:
    """The program, for the checkout's database and as its superuser."""

    def __init__(self, dock: Checkout, program: str) -> None:
        url = dock.environment.database_url(dock.environment.superuser, dock.environment.settings.database)
        self.program, self.environ = program, os.environ | {"DATABASE_URL": url}

    def __call__(self, *words: str) -> None:
        run([self.program, *words], environment=self.environ)


def _alone(dock: Checkout, work: Callable[[], object], afterwards: Callable[[], object] = lambda: None) -> Take:
    """Seconds of `work`, which begins with nothing left to be written."""

    def take() -> float:
        settle(dock)
        took = seconds(work)
        afterwards()
        return took

    return take
