"""The base backups of a cluster: which there are, and what is in them."""

from __future__ import annotations

import os
import re
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, BinaryIO

from drydock.backup import packing
from drydock.console import size
from drydock.errors import DrydockError, NoEnvironmentError, RefusedError
from drydock.pipes import enlarge
from drydock.recovery.archive.folders import Archive, part_order
from drydock.recovery.bases import base_manifest
from drydock.recovery.wal.positions import parse_lsn

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from drydock.backup.encryption import Sealing
    from drydock.environment import Environment
    from drydock.recovery.bases.base_manifest import BaseManifest, Proof

TAR = "base.tar.zst"
NAME = re.compile(r"\d{8}T\d{6}Z(-\d+)?")


class DamagedBaseError(DrydockError):
    """What a base backup holds is not what was written: its folder's name, and a sentence that says what."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"The base backup {name} cannot be used: {reason}", hint="invoke archive.verify")
        self.name, self.reason = name, reason


@dataclass(frozen=True)
class Base:
    """A usable base backup: its description is sound, and its files are there."""

    path: Path
    manifest: BaseManifest

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.name

    @property
    def part(self) -> str:
        """The part of the archive that was written when it was taken."""
        return self.manifest.part

    @property
    def incarnation(self) -> int:
        """The life of the cluster that it is of."""
        return self.manifest.incarnation

    @property
    def timeline(self) -> int:
        """On which it was taken."""
        return self.manifest.timeline

    @property
    def start(self) -> int:
        """The position from which on it needs WAL."""
        return parse_lsn(self.manifest.start)

    @property
    def stop(self) -> int:
        """The position from which on it is consistent: no target may be before it."""
        return parse_lsn(self.manifest.stop)

    @property
    def started(self) -> datetime:
        """The server's clock before it began."""
        return datetime.fromisoformat(self.manifest.started)

    @property
    def stopped(self) -> datetime:
        """The server's clock after it ended."""
        return datetime.fromisoformat(self.manifest.stopped)

    @property
    def proven(self) -> bool:
        """Whether every file of it has been compared with what the server sent."""
        return self.proof is not None

    @property
    def size(self) -> int:
        """Bytes unpacked."""
        return self.manifest.unpacked

    @property
    def order(self) -> tuple[tuple[int, int], int]:
        """Where it stands among the others: by the archive, not by the clock."""
        return part_order(self.part), self.start

    @cached_property
    def damage(self) -> str:
        """What a restore found wrong with it, as a sentence; empty where nothing was, or it has been proven since."""
        return base_manifest.read_damage(self.path)

    @cached_property
    def proof(self) -> Proof | None:
        """The proof of just this backup; None: unproven."""
        return base_manifest.read_proof(self.path, self.manifest)


def bases(archive: Archive) -> list[Base]:
    """The cluster's usable base backups, oldest first. What is wrong with others, `archive.verify` tells."""
    found = []
    for path in folders(archive):
        with suppress(DrydockError):
            found.append(read(archive, path))
    return sorted(found, key=lambda base: base.order)


def folders(archive: Archive) -> list[Path]:
    """The folders of base backups, usable or not, by name; never one that is being written."""
    if not archive.bases.is_dir():
        return []
    return sorted(path for path in archive.bases.iterdir() if NAME.fullmatch(path.name))


def read(archive: Archive, path: Path) -> Base:
    """The base backup in a folder, its files there in their sizes; their content is not read.

    Raises:
        DrydockError: where it cannot be used.
    """
    manifest = base_manifest.read(path)
    if manifest.system_identifier != archive.system_identifier:
        raise DrydockError(f"{path} is a base backup of another cluster ({manifest.system_identifier}).")
    for name, file in manifest.files.items():
        held = _size(path / name)
        if held != file.size:
            reason = "it is missing" if held is None else f"it has {held} bytes instead of {file.size}"
            raise packing.damaged(path / name, reason)
    return Base(path, manifest)


def refuse_damaged(archive: Archive, name: str) -> None:
    """Compare the files of a base backup with their hashes.

    Raises:
        DamagedBaseError: where one differs or is missing.
    """
    path = archive.bases / name
    try:
        for file, expected in base_manifest.read(path).files.items():
            packing.verify(path / file, expected)
    except DrydockError as error:
        raise DamagedBaseError(name, error.message) from error


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


@contextmanager
def unpacked(base: Base, sealing: Sealing) -> Iterator[BinaryIO]:
    """The cluster's files as one tar stream: PGDATA with the WAL it needs in pg_wal, and backup_manifest at its end.

    It is a pipe, so that another program can read it. It is compared with its hash while it is read.

    Raises:
        DrydockError: at the end, where the file is damaged or cannot be decrypted: nothing that was read may be used.
    """
    name = sealed_name(base.manifest)
    failures: list[BaseException] = []
    reading, writing = os.pipe()

    def fill() -> None:
        try:
            with os.fdopen(writing, "wb") as target:
                packing.unpack_at_once(base.path / name, target, base.manifest.files[name], sealing)
        except BaseException as error:  # noqa: BLE001 - raised below, in the thread that reads
            failures.append(error)

    thread = threading.Thread(target=fill, name="unpack")
    with os.fdopen(reading, "rb") as stream:
        enlarge(stream)
        thread.start()
        try:
            yield stream
            while stream.read(packing.CHUNK):  # who reads a tar archive may stop at its end
                pass
        finally:
            stream.close()
            thread.join()
    if failures:
        raise failures[0]


def sealed_name(manifest: BaseManifest) -> str:
    """The name of the file that the cluster is in."""
    return next(name for name in manifest.files if name.startswith(TAR))


def archive_of(environment: Environment) -> Archive:
    """The archive of the environment's cluster.

    Raises:
        RefusedError: where the WAL is not archived.
        NoEnvironmentError: where the archiver was never started.
    """
    if not environment.settings.archiving:
        raise RefusedError("The WAL is not archived (WAL_ARCHIVE=off).", hint="Set WAL_ARCHIVE=on in .env; invoke up")
    if not environment.state.part:
        raise NoEnvironmentError("The WAL archive of this environment has not begun yet.", hint="invoke up")
    return Archive(environment.settings, environment.state.system_identifier)


def due(environment: Environment) -> str:
    """Why a base backup is due, as a clause; empty where none is. Only files are looked at.

    Raises:
        RefusedError, NoEnvironmentError: as `archive_of`.
    """
    archive, part = archive_of(environment), environment.state.part
    ours = [one for one in bases(archive) if one.part == part]
    if not ours:
        return "the archive has begun anew" if bases(archive) else "it is the first"
    if ours[-1].damage:
        return "the last one is damaged"
    piled = since(archive, ours[-1])
    return f"{size(piled)} of WAL since the last one" if piled >= environment.settings.base_backup_wal else ""


def since(archive: Archive, last: Base) -> int:
    """How much WAL of its part has come since a base backup began: bytes, in whole segments."""
    stored = archive.segments(last.part)
    newest = max((one.segment.end for one in stored if one.segment.timeline >= last.timeline), default=0)
    return max(0, newest - last.start)
