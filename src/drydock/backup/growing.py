"""The files that pg_dump is writing, packed while they grow: the compressor works beside the server, not after it."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, BinaryIO, cast

from drydock.backup import packing

if TYPE_CHECKING:
    from pathlib import Path

    from drydock.backup.encryption import Sealing
    from drydock.backup.manifest import PackedFile

# How long a reader that has caught up waits before it looks again (seconds): a file tells nobody that it grew.
LOOK = 0.02
DATA = ".dat"


class GrowingFile:
    """A file that another program writes, read to its end: at what is there so far, reading waits."""

    def __init__(self, path: Path, complete: threading.Event) -> None:
        self.stream = path.open("rb")
        self.complete = complete
        self.done = 0

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes; none only at the end of the complete file."""
        while True:
            complete = self.complete.is_set()
            data = self.stream.read(size)
            if data or complete:
                self.done += len(data)
                return data
            self.complete.wait(LOOK)


class Packer:
    """Packs a directory that pg_dump fills (-Fd) into another, each file from the moment it appears.

    Args:
        source: the directory; what has been packed is removed from it.
        target: where the packed files go.
        sealing: whether and to whom they are encrypted.
        jobs: how many files pg_dump writes at once.
    """

    def __init__(self, source: Path, target: Path, sealing: Sealing, jobs: int) -> None:
        self.source, self.target, self.sealing = source, target, sealing
        self.pool = ThreadPoolExecutor(max_workers=jobs + 1, thread_name_prefix="pack")
        self.events: dict[str, threading.Event] = {}
        self.reading: dict[str, GrowingFile] = {}
        self.work: dict[str, Future[PackedFile]] = {}

    def look(self) -> None:
        """Take up the files that have appeared. Raises what has failed in packing one."""
        for path in self.source.glob(f"*{DATA}"):
            if path.name not in self.work and path.name != "toc.dat":
                self._begin(path, threading.Event())
        for future in self.work.values():
            if future.done():
                future.result()

    def completed(self, name: str) -> None:
        """pg_dump is done with a file."""
        self.look()
        if name in self.events:
            self.events[name].set()

    def finish(self) -> dict[str, PackedFile]:
        """pg_dump is done with all: pack what is left; returns each packed file by its name."""
        self.look()
        for path in self.source.iterdir():
            if path.name not in self.work:
                self._begin(path, threading.Event())
        self.stop()
        return {self._packed_name(name): future.result() for name, future in sorted(self.work.items())}

    def stop(self) -> None:
        """End the packing of all files, complete or not."""
        for event in self.events.values():
            event.set()
        self.pool.shutdown()

    @property
    def done(self) -> int:
        """Bytes read so far."""
        return sum(reader.done for reader in list(self.reading.values()))

    def _begin(self, path: Path, complete: threading.Event) -> None:
        self.events[path.name] = complete
        self.work[path.name] = self.pool.submit(self._pack, path, complete)

    def _pack(self, path: Path, complete: threading.Event) -> PackedFile:
        reader = self.reading[path.name] = GrowingFile(path, complete)
        with reader.stream:
            # No threads of zstd's own: other cores are the server's. With one it took half as long again.
            packed = packing.pack(cast("BinaryIO", reader), self.target / self._packed_name(path.name), self.sealing)
        path.unlink()
        return packed

    def _packed_name(self, name: str) -> str:
        """Data are compressed; the tables of contents stay as they are, for pg_restore wants them so."""
        compressed = name + packing.SUFFIX if name.endswith(DATA) and name != "toc.dat" else name
        return self.sealing.name(compressed)
