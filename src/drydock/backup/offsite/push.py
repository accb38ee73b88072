"""Sending a backup to a repository: verified here, written once, read back there, and its manifest last."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from drydock.backup import packing
from drydock.backup.catalogue import PROOF, proof_at_stake
from drydock.backup.offsite.remote import MANIFESTS, read_document
from drydock.backup.offsite.together import together
from drydock.errors import DrydockError
from drydock.fault_points import Point, reached

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from drydock.backup.catalogue import Entry
    from drydock.backup.manifest import PackedFile
    from drydock.backup.offsite.object_store import Stored
    from drydock.backup.offsite.remote import Document, Piece, Remote


@dataclass(frozen=True, kw_only=True)
class Pushed:
    """What a push did: bytes sent, bytes that were there already, and how long it took in seconds."""

    name: str
    sent: int
    there: int
    seconds: float


def push(entry: Entry, to: Remote, progress: Callable[[int, int], None] = lambda _done, _total: None) -> Pushed:
    """Send a usable backup. A push that was cut is completed by the next: what is there is not sent again.

    Args:
        entry: the backup, as the catalogue has it.
        to: where to.
        progress: called with bytes done and in all.

    Raises:
        RepositoryError: where the repository cannot be used, for this backup or any other.
        DrydockError: where a file here is damaged or cannot be read (nothing is sent), or the repository has another
            backup of this name or another content under one of its names (nothing is replaced).
    """
    with _read_from(entry.path):
        return _push(entry, to, progress)


def _push(entry: Entry, to: Remote, progress: Callable[[int, int], None]) -> Pushed:
    begun = time.monotonic()
    ours = read_document(entry)
    _refuse_another(ours, to)
    with proof_at_stake(entry):
        for _ in together(lambda file: _check(entry.path / file[0], file[1]), ours.manifest.files.items()):
            pass
    reached(Point.PUSH_CHECKED)
    there = to.repository.objects(ours.files)
    bytes_of = {True: 0, False: 0}
    for size, new in together(lambda piece: _send(piece, entry, to, there), ours.pieces()):
        bytes_of[new] += size
        progress(sum(bytes_of.values()), ours.manifest.size)
    reached(Point.PUSH_FILES_SENT)
    # A proof that is there already is as good as this one.
    if entry.proof:
        to.repository.create(ours.proof, (entry.path / PROOF).read_bytes())
    reached(Point.PUSH_PROOF_SENT)
    _create(f"{MANIFESTS}{entry.name}.json", ours.data, to)
    reached(Point.PUSH_DONE)
    seconds = round(time.monotonic() - begun, 3)
    return Pushed(name=entry.name, sent=bytes_of[True], there=bytes_of[False], seconds=seconds)


def _refuse_another(ours: Document, to: Remote) -> None:
    found = to.document(ours.manifest.name)
    if found is not None and found.digest != ours.digest:
        raise DrydockError(
            f"{to.address} has another backup called {ours.manifest.name}, made in the checkout"
            f" {found.manifest.checkout or '?'}. Nothing was sent.",
            hint="Make yours again: invoke backup --label yours",
        )


def _check(path: Path, packed: PackedFile) -> None:
    with _read_from(path):
        packing.verify(path, packed)


@contextmanager
def _read_from(path: Path) -> Iterator[None]:
    """What the operating system refuses here, as a sentence."""
    try:
        yield
    except OSError as error:
        raise DrydockError(
            f"{error.filename or path} cannot be read: {error.strerror}.", hint="invoke backup.list names the others."
        ) from error


def _send(piece: Piece, entry: Entry, to: Remote, there: dict[str, Stored]) -> tuple[int, bool]:
    """Make sure that the repository holds a piece; returns its size, and True where it had to be sent."""
    with (entry.path / piece.file).open("rb") as stream:
        stream.seek(piece.offset)
        data = stream.read(piece.size)
    known = there.get(piece.object)
    if known and known.holds(data):
        return piece.size, False
    return piece.size, _create(piece.object, data, to, exists=known is not None)


def _create(name: str, data: bytes, to: Remote, *, exists: bool = False) -> bool:
    """Write an object and read it back; one that is there already must hold the same."""
    new = not exists and to.repository.create(name, data)
    reached(Point.PUSH_OBJECT_SENT)
    stored = to.repository.head(name)
    if stored is None or not (stored.holds(data) or to.repository.read(name) == data):
        raise DrydockError(
            f"{to.address}/{name} holds something else than this backup. It was left as it is.",
            hint="Find out who wrote it; remove it there, and push again.",
        )
    return new
