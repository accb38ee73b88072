"""Fetching a backup from a repository: every hash is checked before the catalogue shows it."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from drydock.backup import manifest as manifests
from drydock.backup import packing
from drydock.backup.catalogue import PIN, PROOF, at
from drydock.backup.offsite.remote import read_document
from drydock.backup.offsite.together import together
from drydock.errors import DrydockError
from drydock.fault_points import Point, reached
from drydock.files import sync_folder, write_atomic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from drydock.backup.catalogue import Arrival, Catalogue, Entry
    from drydock.backup.manifest import PackedFile
    from drydock.backup.offsite.object_store import Stored
    from drydock.backup.offsite.remote import Document, Piece, Remote

# In a backup's folder beside the files that its manifest names.
_OURS = (manifests.FILE, PROOF, PIN)


@dataclass(frozen=True, kw_only=True)
class Pulled:
    """What a pull did: bytes fetched, bytes that were here already, and how long it took in seconds.

    `repaired` names the files of a backup that was here which were missing or damaged.
    """

    entry: Entry
    fetched: int
    here: int
    repaired: list[str]
    seconds: float


def pull(
    wanted: str, source: Remote, to: Catalogue, progress: Callable[[int, int], None] = lambda _done, _total: None
) -> Pulled:
    """Fetch the backup called `wanted`, or what is missing or damaged where it is here. The next completes a cut one.

    Args:
        wanted: a name, a beginning that only one has, a label, or `latest`.
        source: where from.
        to: the catalogue it appears in, once all of it is there and found sound.
        progress: called with bytes done and in all.

    Raises:
        DrydockError: where there is none, it is incomplete or damaged there, another one here has its name, or there is
            no room for it.
        BusyError: where another task fetches the same one.
    """
    begun = time.monotonic()
    name = source.find(wanted)
    theirs = source.document(name)
    if theirs is None:
        raise DrydockError(f"{name} is no longer in {source.address}.", hint="invoke backup.remote")
    _present(to, theirs)
    with _written_to(to.folder), to.receiving(name) as arriving:
        reached(Point.PULL_BEGUN)
        # It may have come while we waited for the folder.
        found = _present(to, theirs)
        fetch = Fetch(theirs, source, arriving.path, progress)
        fetched, repaired = _repair(found, fetch) if found else (_receive(arriving, fetch), [])
    return Pulled(
        entry=at(to.folder / name),
        fetched=fetched,
        here=theirs.manifest.size - fetched,
        repaired=repaired,
        seconds=round(time.monotonic() - begun, 3),
    )


@dataclass(frozen=True)
class Fetch:
    """Which backup is fetched, where from, into which folder, and who is told bytes done and in all."""

    theirs: Document
    source: Remote
    folder: Path
    progress: Callable[[int, int], None]


def _present(catalogue: Catalogue, theirs: Document) -> Entry | None:
    """The same backup where it is here already, sound or damaged; another one is an error."""
    found = next((entry for entry in catalogue.entries() if entry.name == theirs.manifest.name), None)
    if found is None or _is_same(found, theirs):
        return found
    problem = f" ({found.problem.rstrip('.')})" if found.problem else ""
    raise DrydockError(
        f"{found.path} is another backup of the same name{problem}.",
        hint=f"Move it away: mv {shlex.quote(str(found.path))} elsewhere",
    )


def _is_same(found: Entry, theirs: Document) -> bool:
    """Where the manifest cannot be read the files tell: all that are there must be theirs, so that none is lost."""
    if found.manifest:
        return read_document(found).digest == theirs.digest
    files = theirs.manifest.files
    inside = {str(path.relative_to(found.path)) for path in found.path.rglob("*") if not path.is_dir()}
    return all(file in files and _is_sound(found.path / file, files[file]) for file in inside.difference(_OURS))


def _is_sound(path: Path, packed: PackedFile) -> bool:
    try:
        packing.verify(path, packed)
    except (DrydockError, OSError):
        # A file that a bad disk does not give is fetched again as well.
        return False
    return True


def _receive(arriving: Arrival, fetch: Fetch) -> int:
    """Fetch all of a backup, and have the catalogue show it; returns bytes fetched."""
    fetched = _fetch_files(fetch, fetch.theirs.manifest.files)
    reached(Point.PULL_CHECKED)
    _fetch_proof(fetch, arriving.path)
    arriving.finish(fetch.theirs.data)
    return fetched


def _repair(found: Entry, fetch: Fetch) -> tuple[int, list[str]]:
    """Replace what is missing or damaged in a backup that is here; returns bytes fetched, and the files' names.

    Each file is fetched beside, and takes its place once it is whole and checked. The manifest is the last.
    """
    path, files = found.path, fetch.theirs.manifest.files
    judged = together(lambda file: (file, _is_sound(path / file, files[file])), files)
    broken = sorted(file for file, sound in judged if not sound)
    fetched = _fetch_files(fetch, {file: files[file] for file in broken})
    for file in broken:
        _move(fetch.folder / file, path / file)
        reached(Point.PULL_FILE_REPAIRED)
    if not (path / PROOF).exists():
        _fetch_proof(fetch, path)
    if found.manifest is None:
        write_atomic(path / manifests.FILE, fetch.theirs.data.decode())
        broken.append(manifests.FILE)
    shutil.rmtree(fetch.folder)
    return fetched, broken


def _move(arrived: Path, to: Path) -> None:
    to.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    arrived.replace(to)
    sync_folder(to.parent)


def _fetch_files(fetch: Fetch, files: Mapping[str, PackedFile]) -> int:
    """Fetch and check these files of the backup; returns bytes fetched: what an earlier pull left is not."""
    folder, source = fetch.folder, fetch.source
    stored = source.repository.objects(fetch.theirs.files) if files else {}
    pieces = [piece for piece in fetch.theirs.pieces() if piece.file in files]
    for piece in pieces:
        _refuse_incomplete(piece, stored, source)
    begun = {file for file, packed in files.items() if _make(folder / file, packed.size)}
    bytes_of = {True: 0, False: 0}

    def get(piece: Piece) -> tuple[int, bool]:
        known = stored[piece.object] if piece.file in begun else None
        return _fetch(piece, source, folder / piece.file, known)

    for size, new in together(get, pieces):
        bytes_of[new] += size
        fetch.progress(sum(bytes_of.values()), sum(packed.size for packed in files.values()))
    for _ in together(lambda file: _settle(folder / file[0], file[1], source), files.items()):
        pass
    for parent in {(folder / file).parent for file in files}:
        sync_folder(parent)
    return bytes_of[True]


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
    with path.open("r+b") as stream:
        if known and known.holds(os.pread(stream.fileno(), piece.size, piece.offset)):
            return piece.size, False
        data = source.repository.read(piece.object)
        if data is None or len(data) != piece.size:
            raise _damaged(f"{source.address}/{piece.object} changed while it was read")
        # Not pwrite(2), which writes less than it was given where the disk fills up, and does not say so.
        stream.seek(piece.offset)
        stream.write(data)
    reached(Point.PULL_PIECE_WRITTEN)
    return piece.size, True


def _settle(path: Path, packed: PackedFile, source: Remote) -> None:
    """Check a fetched file, and put it on disk."""
    with path.open("rb") as stream:
        if hashlib.file_digest(stream, "sha256").hexdigest() != packed.sha256:
            raise _damaged(f"{path.name} from {source.address} is not what was backed up")
        os.fsync(stream.fileno())


def _fetch_proof(fetch: Fetch, folder: Path) -> None:
    """The proof travels with its backup: it counts only for the manifest that it names, and a damaged one never."""
    data = fetch.source.repository.read(fetch.theirs.proof)
    if data is not None and _proves(data, fetch.theirs):
        write_atomic(folder / PROOF, data.decode())


def _proves(data: bytes, theirs: Document) -> bool:
    try:
        found = json.loads(data)
    except ValueError:
        return False
    return isinstance(found, dict) and found.get("manifest") == theirs.digest


@contextmanager
def _written_to(folder: Path) -> Iterator[None]:
    """What the operating system refuses here, as a sentence."""
    try:
        yield
    except OSError as error:
        raise DrydockError(
            f"{error.filename or folder} could not be written: {error.strerror}.",
            hint="Once that is mended run it again: it goes on where it was cut.",
        ) from error


def _damaged(what: str) -> DrydockError:
    return DrydockError(f"{what}: this backup cannot be fetched.", hint="invoke backup.remote names the others.")
