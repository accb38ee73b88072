"""Files of a backup on their way to and from disk: compressed, then encrypted, and hashed as they are written."""

from __future__ import annotations

import hashlib
import os
import shutil
from typing import TYPE_CHECKING, BinaryIO, cast

from drydock.backup.encryption import OPEN, Sealing, decrypt, encrypt
from drydock.backup.encryption import SUFFIX as ENCRYPTED
from drydock.backup.manifest import PackedFile
from drydock.errors import DamagedError

if TYPE_CHECKING:
    from pathlib import Path

CHUNK = 1 << 20
LEVEL = 1
SUFFIX = ".zst"


class Counting:
    """A file being read whose size is known at the end."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream
        self.size = 0

    def read(self, size: int = -1) -> bytes:
        """Read up to `size` bytes."""
        data = self.stream.read(size)
        self.size += len(data)
        return data


class Hashing:
    """A file being written whose size and SHA-256 are known at the end."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream
        self.size = 0
        self.hash = hashlib.sha256()

    def write(self, data: bytes) -> int:
        """Write all of `data`."""
        self.hash.update(data)
        self.size += len(data)
        return self.stream.write(data)

    def flush(self) -> None:
        """Hand to the operating system what is buffered."""
        self.stream.flush()


def pack(source: BinaryIO, target: Path, sealing: Sealing = OPEN, *, threads: int = 0) -> PackedFile:
    """Write `source` to `target`, made with mode 0600 and on disk (fsync) when this returns.

    The target's name says how: `.zst` compresses, then `.age` encrypts (`Sealing.name` makes such a name). The hash is
    of what is on disk.

    Args:
        source: read to its end.
        target: does not exist.
        sealing: whom to encrypt for.
        threads: zstd's own, beside the one that reads, hashes and writes; none where other cores have work already.

    Raises:
        DrydockError: where it cannot be encrypted (see `encryption.encrypt`).
    """
    if (target.suffix == ENCRYPTED) is not bool(sealing.recipients):
        raise ValueError(target)
    counting = Counting(source)
    with open_private(target) as stream:
        hashing = Hashing(stream)
        reader, writer = cast("BinaryIO", counting), cast("BinaryIO", hashing)
        if SUFFIX in target.suffixes:
            reader = _compressed(reader, threads)
        if sealing.recipients:
            encrypt(reader, writer, sealing)
        else:
            shutil.copyfileobj(reader, writer, CHUNK)
        sync(stream)
    return PackedFile(size=hashing.size, sha256=hashing.hash.hexdigest(), unpacked=counting.size)


def unpack(source: Path, target: BinaryIO, expected: PackedFile, sealing: Sealing = OPEN) -> None:
    """Decrypt and decompress `source` into `target`, as its name says.

    Raises:
        DrydockError: where the file is not the one the manifest describes or cannot be decrypted; `target` may hold a
            part of it then. `unpack_file` never shows such a part.
    """
    verify(source, expected)
    size = _unpacked(source, target, sealing).unpacked
    if size != expected.unpacked:
        raise damaged(source, f"it unpacks to {size} bytes instead of {expected.unpacked}")


def measure(source: Path, target: BinaryIO, sealing: Sealing = OPEN) -> PackedFile:
    """Unpack a file that nothing is known of into `target`; returns what a manifest would say of it.

    A file that is cut off may pass: the caller knows what must be in it.

    Raises:
        DrydockError: where it is damaged or cannot be decrypted.
    """
    return _unpacked(source, target, sealing)


def unpack_at_once(source: Path, target: BinaryIO, expected: PackedFile, sealing: Sealing = OPEN) -> None:
    """As `unpack`, but the file is read only once: its hash is known when all of it has been handed to `target`.

    Raises:
        DrydockError: as `unpack`; nothing of what `target` got may be used then.
    """
    size = source.stat().st_size if source.exists() else None
    if size != expected.size:
        raise damaged(source, "it is missing" if size is None else f"it has {size} bytes instead of {expected.size}")
    if _unpacked(source, target, sealing) != expected:
        raise damaged(source, "its content is not what was written")


def unpack_file(source: Path, target: Path, expected: PackedFile, sealing: Sealing = OPEN) -> None:
    """Unpack `source` to the file `target` (mode 0600), which appears only complete and authenticated.

    Raises:
        DrydockError: as `unpack`; `target` does not exist then.
    """
    part = target.with_name(f".{target.name}.part")
    part.unlink(missing_ok=True)
    try:
        with open_private(part) as stream:
            unpack(source, stream, expected, sealing)
        part.rename(target)
    finally:
        part.unlink(missing_ok=True)


def verify(path: Path, expected: PackedFile) -> None:
    """Compare a file's size and hash with the manifest's.

    Raises:
        DamagedError: where it is missing or differs.
    """
    if not path.exists():
        raise damaged(path, "it is missing")
    size = path.stat().st_size
    if size != expected.size:
        raise damaged(path, f"it has {size} bytes instead of {expected.size}")
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != expected.sha256:
        raise damaged(path, "its content is not what was written")


def damaged(path: Path, reason: str) -> DamagedError:
    """The error for a file of a backup that cannot be trusted."""
    return DamagedError(f"{path} is damaged: {reason}.", hint="invoke backup.list names the others.")


def open_private(path: Path) -> BinaryIO:
    """A new file for writing that only its owner may read."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def sync(stream: BinaryIO) -> None:
    """Put a file's content on disk."""
    stream.flush()
    os.fsync(stream.fileno())


class _HashedReading(Counting):
    """A file being read whose size and SHA-256 are known at the end."""

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__(stream)
        self.name = stream.name
        self.hash = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = super().read(size)
        self.hash.update(data)
        return data


class _CountedWriting:
    """A file being written whose size is known at the end."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream
        self.size = 0

    def write(self, data: bytes) -> int:
        self.size += len(data)
        return self.stream.write(data)

    def flush(self) -> None:
        self.stream.flush()


def _unpacked(source: Path, target: BinaryIO, sealing: Sealing) -> PackedFile:
    from zstandard import ZstdError

    counted = _CountedWriting(target)
    writer = cast("BinaryIO", counted)
    with source.open("rb") as stream:
        reading = _HashedReading(stream)
        reader = cast("BinaryIO", reading)
        try:
            if SUFFIX in source.suffixes:
                writer = _decompressing(writer)
            if source.suffix == ENCRYPTED:
                decrypt(reader, writer, sealing)
            else:
                shutil.copyfileobj(reader, writer, CHUNK)
        except ZstdError as error:
            raise damaged(source, str(error)) from error
        while reading.read(CHUNK):  # what follows the end of the content belongs to the file as well
            pass
    return PackedFile(size=reading.size, sha256=reading.hash.hexdigest(), unpacked=counted.size)


def _compressed(source: BinaryIO, threads: int) -> BinaryIO:
    from zstandard import ZstdCompressor

    compressor = ZstdCompressor(level=LEVEL, write_checksum=True, threads=threads)
    return cast("BinaryIO", compressor.stream_reader(source, read_size=CHUNK))


def _decompressing(target: BinaryIO) -> BinaryIO:
    from zstandard import ZstdDecompressor

    return cast("BinaryIO", ZstdDecompressor().stream_writer(target, write_size=CHUNK, closefd=False))
