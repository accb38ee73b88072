"""A server on files that were recovered in some way: started with the checkout's configuration, asked, removed."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

from drydock.checkout import SUPERUSER
from drydock.engine import beside_words, cluster
from drydock.engine.processes import clean_environment, end_all, unprivileged

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.checkout import Checkout

POLL = 0.01  # seconds
PATIENCE = 600.0  # seconds
TABLES = ("messages", "benchmark_marks", "benchmark_load")
# Every row of the tables that were written to, and what is quick to read of those that were not.
_TEXT = {"messages": "t.id::text || t.created_at"}


@dataclass(frozen=True)
class Goal:
    """Where to stop: before the first record that begins at `lsn` or later.

    Attributes:
        lsn: as the server words it.
        timeline: its number.
        rows: what `query()` answered at that moment.
    """

    lsn: str
    timeline: int
    rows: str

    def compare(self, side: str, rows: str) -> None:
        """Stop the benchmark where a side does not have the rows of that moment.

        Raises:
            RuntimeError: then.
        """
        if rows != self.rows:
            raise RuntimeError(f"{side} recovered {rows}, and there was {self.rows}.")


def query(tables: list[str]) -> str:
    """A query that gives one text: the number of rows and a checksum of each of the tables."""
    parts = (
        f"SELECT '{name} ' || count(*) || ' ' || coalesce(sum(hashtextextended({_TEXT.get(name, 't::text')}, 0)), 0)"
        f" AS line FROM {name} AS t"
        for name in tables
    )
    return f"SELECT string_agg(line, '; ' ORDER BY line) FROM ({' UNION ALL '.join(parts)}) AS lines"


class Recovered:
    """A data directory that a peer fills, and the server on it, which listens on a private socket only."""

    def __init__(self, dock: Checkout, folder: Path) -> None:
        self.dock, self.folder = dock, folder
        self.data = folder / "data"
        self.data.mkdir(mode=0o700)
        self.log = folder / "log"

    def start(self, *options: str) -> None:
        """Start the server with drydock's configuration and these `name=value` on top."""
        hba = self.folder / "hba.conf"
        hba.write_text(beside_words.HBA, encoding="utf-8")
        where = ("listen_addresses=", f"unix_socket_directories={self.folder}", f"port={beside_words.PORT}")
        command = cluster.command(
            self.dock.environment.settings, self.data, *where, f"hba_file={hba}", *beside_words.SYNC, *options
        )
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*unprivileged(), *command],
                cwd=self.data,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=clean_environment({"LC_ALL": "C"}),
            )

    def wait(self) -> None:
        """Return once the server has left recovery and has answered a query.

        Raises:
            RuntimeError: with its log, where it ends instead.
        """
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            try:
                if self.ask("SELECT pg_is_in_recovery()::text") == "false":
                    return
            except psycopg.OperationalError:
                if self.process.poll() is not None:
                    break
            time.sleep(POLL)
        raise RuntimeError(self.log.read_text(encoding="utf-8", errors="replace"))

    def ask(self, question: str, database: str = SUPERUSER) -> str:
        """The one value that a query gives."""
        with psycopg.connect(
            host=str(self.folder), port=beside_words.PORT, user=SUPERUSER, dbname=database
        ) as connection:
            row = connection.execute(question.encode()).fetchone()
            assert row is not None
            return str(row[0])

    def end(self) -> None:
        """End the server at once."""
        end_all(self.data)
        self.process.wait()


@contextmanager
def recovered(dock: Checkout) -> Iterator[Recovered]:
    """A new empty data directory on the disk of the checkout's volumes; gone afterwards with its server."""
    folder = Path(tempfile.mkdtemp(prefix="r-", dir=dock.root.parent))
    made = Recovered(dock, folder)
    try:
        yield made
    finally:
        end_all(folder)
        shutil.rmtree(folder)
