"""Fetching a backup from a repository: every hash is checked before the catalogue shows it."""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from drydock.backup.catalogue import PROOF
from drydock.backup.offsite.remote import read_document
from drydock.backup.offsite.together import together
from drydock.errors import DrydockError
from drydock.fault_points import Point, reached
from drydock.files import sync_folder, write_atomic

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from drydock.backup.catalogue import Catalogue, Entry
    from drydock.backup.manifest import PackedFile
    from drydock.backup.offsite.object_store import Stored
    from drydock.backup.offsite.remote import Document, Piece, Remote


@dataclass(frozen=True, kw_only=True)
class Pulled:
    """What a pull did: bytes fetched, bytes that were here already, and how long it took in seconds."""

    entry: Entry
    fetched: int
    here: int
    seconds: float


def pull(
    wanted: str, source: Remote, to: Catalogue, progress: Callable[[int, int], None] = lambda _done, _total: None
) -> Pulled:
    """Fetch the backup called `wanted`. A pull that was cut is completed by the next.

    Args:
        wanted: a name, a beginning that only one has, a label, or `latest`.
        source: where from.
        to: the catalogue it appears in, once all of it is there and found sound.
        progress: called with bytes done and in all.

    Raises:
        DrydockError: where there is none, it is incomplete or damaged there, or another one here has its name.
        BusyError: where another task fetches the same one.
    """
    begun = time.monotonic()
    name = source.find(wanted)
    theirs = source.document(name)
    if theirs is None:
        raise DrydockError(f"{name} is no longer in {source.address}.", hint="invoke backup.remote")
    entry = _present(to, theirs)
    fetched, here = 0, theirs.manifest.size
    if entry is None:
        with to.receiving(name) as arriving:
            reached(Point.PULL_BEGUN)
            fetched, here = _fetch_files(theirs, source, arriving.path, progress)
            reached(Point.PULL_CHECKED)
            _fetch_proof(theirs, source, arriving.path)
            entry = arriving.finish(theirs.data)
    return Pulled(entry=entry, fetched=fetched, here=here, seconds=round(time.monotonic() - begun, 3))


def _present(catalogue: Catalogue, theirs: Document) -> Entry | None:
    """The same backup where it is here already; one that is damaged here or is another one is an error."""
    found = next((entry for entry in catalogue.entries() if entry.name == theirs.manifest.name), None)
    if found is None or (found.manifest and read_document(found).digest == theirs.digest):
        return found
    problem = f" ({found.problem})" if found.problem else ""
    raise DrydockError(
        f"{found.path} is another backup of the same name{problem}.", hint=f"Move it away: mv '{found.path}' elsewhere"
    )


def _fetch_files(
    theirs: Document, source: Remote, folder: Path, progress: Callable[[int, int], None]
) -> tuple[int, int]:
    """Fetch and check all files; returns bytes fetched, and bytes that were here already."""
    stored = source.repository.objects(theirs.files)
    pieces, files = list(theirs.pieces()), theirs.manifest.files
    for piece in pieces:
        _refuse_incomplete(piece, stored, source)
    begun = {file for file, packed in files.items() if _make(folder / file, packed.size)}
    bytes_of = {True: 0, False: 0}

    def fetch(piece: Piece) -> tuple[int, bool]:
        known = stored[piece.object] if piece.file in begun else None
        return _fetch(piece, source, folder / piece.file, known)

    for size, new in together(fetch, pieces):
        bytes_of[new] += size
        progress(sum(bytes_of.values()), theirs.manifest.size)
    for _ in together(lambda file: _settle(folder / file[0], file[1], source), files.items()):
        pass
    for parent in {(folder / file).parent for file in files}:
        sync_folder(parent)
    return bytes_of[True], bytes_of[False]


def _refuse_incomplete(piece: Piece, stored: dict[str, Stored], source: Remote) -> None:
    found = stored.get(piece.object)
    if found is None or found.size != piece.size:
        problem = "is missing" if found is None else f"has {found.size} bytes instead of {piece.size}"
        raise _damaged(f"{source.address}/{piece.object} {problem}")


def _make(path: Path, size: int) -> bool:
    """A private file of that size; True where an earlier pull made it, whose pieces stay in place."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    there = path.exists()
    handle = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        os.ftruncate(handle, size)
    finally:
        os.close(handle)
    return there


def _fetch(piece: Piece, source: Remote, path: Path, known: Stored | None) -> tuple[int, bool]:
    """Write a piece to its place; returns its size, and True where it was not there already."""
    with path.open("r+b", buffering=0) as stream:
        if known and known.holds(os.pread(stream.fileno(), piece.size, piece.offset)):
            return piece.size, False
        data = source.repository.read(piece.object)
        if data is None or len(data) != piece.size:
            raise _damaged(f"{source.address}/{piece.object} changed while it was read")
        os.pwrite(stream.fileno(), data, piece.offset)
    reached(Point.PULL_PIECE_WRITTEN)
    return piece.size, True


def _settle(path: Path, packed: PackedFile, source: Remote) -> None:
    """Check a fetched file, and put it on disk."""
    with path.open("rb") as stream:
        if hashlib.file_digest(stream, "sha256").hexdigest() != packed.sha256:
            raise _damaged(f"{path.name} from {source.address} is not what was backed up")
        os.fsync(stream.fileno())


def _fetch_proof(theirs: Document, source: Remote, folder: Path) -> None:
    """The proof travels with its backup: it counts only for the manifest that it names."""
    data = source.repository.read(theirs.proof)
    if data is not None:
        write_atomic(folder / PROOF, data.decode())


def _damaged(what: str) -> DrydockError:
    return DrydockError(f"{what}: this backup cannot be fetched.", hint="invoke backup.remote names the others.")
