"""Files of a backup on their way to and from disk: compressed with zstd, hashed as they are written."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, BinaryIO, cast

from drydock.backup.manifest import PackedFile
from drydock.errors import DrydockError

if TYPE_CHECKING:
    from pathlib import Path

CHUNK = 1 << 20
LEVEL = 1
SUFFIX = ".zst"


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


def pack(source: BinaryIO, target: Path) -> PackedFile:
    """Compress `source` to `target`, made with mode 0600 and on disk (fsync) when this returns."""
    from zstandard import ZstdCompressor

    with open_private(target) as stream:
        hashing = Hashing(stream)
        unpacked, _ = ZstdCompressor(level=LEVEL, write_checksum=True).copy_stream(
            source, cast("BinaryIO", hashing), read_size=CHUNK, write_size=CHUNK
        )
        sync(stream)
    return PackedFile(size=hashing.size, sha256=hashing.hash.hexdigest(), unpacked=unpacked)


def unpack(source: Path, target: BinaryIO, expected: PackedFile) -> None:
    """Decompress `source` into `target`.

    Raises:
        DrydockError: where the file is not the one the manifest describes; `target` may hold a part of it then.
    """
    from zstandard import ZstdDecompressor, ZstdError

    verify(source, expected)
    with source.open("rb") as stream:
        try:
            _, written = ZstdDecompressor().copy_stream(stream, target, read_size=CHUNK, write_size=CHUNK)
        except ZstdError as error:
            raise damaged(source, str(error)) from error
    if written != expected.unpacked:
        raise damaged(source, f"it unpacks to {written} bytes instead of {expected.unpacked}")


def verify(path: Path, expected: PackedFile) -> None:
    """Compare a file's size and hash with the manifest's.

    Raises:
        DrydockError: where it is missing or differs.
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


def damaged(path: Path, reason: str) -> DrydockError:
    """The error for a file of a backup that cannot be trusted."""
    return DrydockError(f"{path} is damaged: {reason}.", hint="invoke backup.list names the others.")


def open_private(path: Path) -> BinaryIO:
    """A new file for writing that only its owner may read."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def sync(stream: BinaryIO) -> None:
    """Put a file's content on disk."""
    stream.flush()
    os.fsync(stream.fileno())
