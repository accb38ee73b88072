"""The first bytes of what pg_restore reads: which version of the format, and who made it."""

from __future__ import annotations

from dataclasses import dataclass

from drydock.backup.foreign.source import damaged

MAGIC = b"PGDMP"
# The newest archive format that pg_restore of Postgres 16 reads (K_VERS_MAX in pg_backup_archiver.h); 17 writes 1.16.
NEWEST = (1, 15)
COMPRESSIONS = ("none", "gzip", "lz4", "zstd")
_FORMATS = {1: "custom", 3: "tar", 5: "directory"}
_LONGEST_TEXT = 1 << 12


@dataclass(frozen=True)
class ArchiveHeader:
    """What an archive says of itself; the last three are empty where the format is too new to be read on.

    Attributes:
        version: of the archive format.
        compression: of the data inside.
        database: that was dumped.
        server: version of the server it came from.
        pg_dump: version of the program that made it.
    """

    version: tuple[int, int]
    compression: str = ""
    database: str = ""
    server: str = ""
    pg_dump: str = ""

    @property
    def too_new(self) -> bool:
        """True where our pg_restore does not read it."""
        return self.version > NEWEST


def parse(head: bytes) -> ArchiveHeader:
    """Read the beginning of an archive (ReadHead in pg_backup_archiver.c).

    Raises:
        DrydockError: where it is cut off or makes no sense.
    """
    try:
        return read(ByteReader(head))
    except (IndexError, ValueError) as error:
        raise damaged("its first bytes make no sense") from error


def read(data: ByteReader) -> ArchiveHeader:
    """Read the header and leave the reader behind it; raises IndexError and ValueError where there is none."""
    data.skip(len(MAGIC))
    version = (data.byte(), data.byte())
    data.skip(1)  # the revision
    integer = data.byte()
    data.skip(1 if version >= (1, 7) else 0)  # the size of offsets
    if integer not in {4, 8} or data.byte() not in _FORMATS:
        raise ValueError("unknown sizes or format")
    compression = _compression(data, version, integer)
    for _ in range(7):  # the time it was made: a struct tm
        data.integer(integer)
    database = data.text(integer)
    server, pg_dump = (data.text(integer), data.text(integer)) if version >= (1, 10) else ("", "")
    return ArchiveHeader(version, compression, database, server, pg_dump)


def _compression(data: ByteReader, version: tuple[int, int], integer: int) -> str:
    """An algorithm since 1.15; before that a level, which was always zlib's."""
    if version >= (1, 15):
        return COMPRESSIONS[data.byte()]
    return "gzip" if data.integer(integer) else "none"


class ByteReader:
    """A cursor over an archive's bytes; running over their end is an IndexError, a text too long a ValueError."""

    def __init__(self, data: bytes, *, longest: int = _LONGEST_TEXT) -> None:
        self._data = data
        self._longest = longest
        self._at = 0

    def skip(self, count: int) -> None:
        """Leave out so many bytes."""
        self._at += count

    def byte(self) -> int:
        """The next byte."""
        self._at += 1
        return self._data[self._at - 1]

    def integer(self, size: int) -> int:
        """A sign and then `size` bytes, the lowest first (ReadInt)."""
        sign = self.byte()
        value = int.from_bytes(bytes(self.byte() for _ in range(size)), "little")
        return -value if sign else value

    def text(self, size: int) -> str:
        """A text; one that is absent is empty."""
        return self.optional_text(size) or ""

    def optional_text(self, size: int) -> str | None:
        """A length and then so many bytes; a negative length is no text at all (ReadStr)."""
        length = self.integer(size)
        if length < 0:
            return None
        if length > self._longest:
            raise ValueError("a text of that length")
        found = self._data[self._at : self._at + length]
        if len(found) < length:
            raise IndexError
        self._at += length
        return found.decode(errors="replace")
