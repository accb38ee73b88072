"""Sending a backup to an S3 server on loopback and fetching it, against plain copies with the same library."""

from __future__ import annotations

import os
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import obstore
from obstore.store import S3Store

from benchmarks.amount import stocked
from benchmarks.by_hand import size_of
from benchmarks.measure import Limit, Row, interleave, seconds
from drydock.backup import dump as backups
from drydock.backup.catalogue import Catalogue
from drydock.backup.offsite.object_store import Repository
from drydock.backup.offsite.pull import pull
from drydock.backup.offsite.push import push
from drydock.backup.offsite.remote import Remote
from tests.s3 import BUCKET, SERVERS, serving

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.measure import Take
    from drydock.backup.catalogue import Entry
    from tests.s3 import Store

ROUNDS = 7
LIMIT = Limit(0.6, at_least=True)


def measure(rounds: int = ROUNDS, amount: str = "1GB") -> list[Row]:
    """A row for each direction and each of the servers that the tests have."""
    with stocked(amount) as dock:
        now = datetime.now(UTC)
        entry = backups.make(dock.environment, backups.Request(), now=now, progress=lambda *_: None)
        return [row for server in SERVERS for row in _rows(server, entry, rounds)]


def _rows(server: str, entry: Entry, rounds: int) -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="drydock-benchmark-") as folder, serving(server, Path(folder)) as store:
        takes = _Sides(store, entry, Path(folder) / "fetched").takes
        interleave(1, *takes)
        pushes, puts, pulls, gets = interleave(rounds, *takes)
    what = f"{size_of(entry.path) / 1e6:,.1f} MB, {server}"
    return [
        Row(f"`push.push`, {what}", "`obstore.put` of each file", pushes, puts, LIMIT),
        Row(f"`pull.pull`, {what}", "`obstore.get` of each file", pulls, gets),
    ]


class _Sides:
    """Four takes that make up a round: what one writes, another reads, and at the end nothing of it is left."""

    def __init__(self, store: Store, entry: Entry, folder: Path) -> None:
        self.store, self.entry, self.folder = store, entry, folder
        config: Any = store.variables | {"AWS_DISABLE_BULK_DELETE": "true"}
        self.plain = S3Store(BUCKET, config=config, client_options={"allow_http": True})
        self.files = {name: entry.path / name for name in entry.manifest.files} if entry.manifest else {}

    @property
    def takes(self) -> list[Take]:
        """Push, put, pull and get: seconds."""
        return [
            lambda: _alone(lambda: push(self.entry, self._remote())),
            lambda: _alone(self._put),
            lambda: self._fetched(lambda: pull("latest", self._remote(), Catalogue(self.folder))),
            lambda: self._last(self._get),
        ]

    def _put(self) -> None:
        for name, path in self.files.items():
            obstore.put(self.plain, f"plain/{name}", path)

    def _get(self) -> None:
        for name in self.files:
            target = self.folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as stream:
                for chunk in obstore.get(self.plain, f"plain/{name}").stream():
                    stream.write(chunk)

    def _remote(self) -> Remote:
        return Remote(Repository(self.store.address, self.store.variables))

    def _fetched(self, work: Callable[[], object]) -> float:
        took = _alone(work)
        shutil.rmtree(self.folder)
        return took

    def _last(self, work: Callable[[], object]) -> float:
        took = self._fetched(work)
        for page in obstore.list(self.plain):
            obstore.delete(self.plain, [found["path"] for found in page])
        return took


def _alone(work: Callable[[], object]) -> float:
    """Seconds of `work`, which begins with nothing left to be written."""
    os.sync()
    return seconds(work)
