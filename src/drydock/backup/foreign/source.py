"""A stream that can be looked into before it is read, unpacked on the way, and that says how far it was read."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from typing import TYPE_CHECKING, BinaryIO, Protocol, cast

from drydock.errors import DrydockError

if TYPE_CHECKING:
    from collections.abc import Callable

CHUNK = 1 << 18
ZSTD_CHUNK = 1 << 13  # packed bytes taken at a time: unpacked they all stay in memory


class Readable(Protocol):
    """Whatever hands out bytes."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; none at the end."""
        ...


class Source:
    """Bytes with a look ahead; `position` is how many were taken from below."""

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self._ahead = b""
        self.position = 0

    def head(self, size: int) -> bytes:
        """The next bytes, which stay to be read; fewer than `size` only where the stream ends."""
        while len(self._ahead) < size:
            more = self._take(size - len(self._ahead))
            if not more:
                break
            self._ahead += more
        return self._ahead[:size]

    def read(self, size: int = CHUNK, /) -> bytes:
        """At most `size` bytes; none at the end."""
        if self._ahead:
            found, self._ahead = self._ahead[:size], self._ahead[size:]
            return found
        return self._take(size)

    def _take(self, size: int) -> bytes:
        data = self._stream.read(size)
        self.position += len(data)
        return data


class _Zstd:
    """Frames of zstd, one after another; the library's own reader takes a frame that is cut off for a finished one."""

    def __init__(self, stream: Readable) -> None:
        from zstandard import ZstdDecompressor

        self._stream = stream
        self._library = ZstdDecompressor()
        self._frame = self._library.decompressobj()
        self._begun = False
        self._left = b""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; none at the end."""
        while not self._left:
            packed = self._frame.unused_data if self._frame.eof else self._stream.read(ZSTD_CHUNK)
            if self._frame.eof:
                self._frame, self._begun = self._library.decompressobj(), False
                packed = packed or self._stream.read(ZSTD_CHUNK)
            if not packed:
                if self._begun:
                    raise EOFError("the last frame has no end")
                return b""
            self._begun = True
            self._left = self._frame.decompress(packed)
        found, self._left = self._left[:size], self._left[size:]
        return found


WRAPPERS: dict[bytes, tuple[str, Callable[[BinaryIO], Readable]]] = {
    b"\x1f\x8b": ("gzip", lambda stream: gzip.GzipFile(fileobj=stream)),
    b"BZh": ("bzip2", bz2.BZ2File),
    b"\xfd7zXZ\0": ("xz", lzma.LZMAFile),
    b"\x28\xb5\x2f\xfd": ("zstd", _Zstd),
}


def unwrapped(outer: Source) -> tuple[Source, str]:
    """What is inside a compressed stream, and what it is compressed with; other streams are handed back."""
    head = outer.head(8)
    for magic, (name, opener) in WRAPPERS.items():
        if head.startswith(magic):
            return Source(_Unpacked(opener(cast("BinaryIO", outer)), name)), name
    return outer, ""


def damaged(reason: str) -> DrydockError:
    """The error for a dump that cannot be read to its end."""
    return DrydockError(
        f"The dump is damaged: {reason}. Nothing of it was kept.",
        hint="Copy it again from where it was made, and compare both: sha256sum FILE",
    )


class _Unpacked:
    """Turns what each library raises for damaged data into one error."""

    def __init__(self, stream: Readable, name: str) -> None:
        self._stream = stream
        self._name = name

    def read(self, size: int, /) -> bytes:
        from zstandard import ZstdError

        try:
            return self._stream.read(size)
        except (EOFError, OSError, ValueError, lzma.LZMAError, zlib.error, ZstdError) as error:
            words = (str(error) or type(error).__name__).rstrip(".")
            raise damaged(f"its {self._name} data is cut off or altered ({words})") from error
