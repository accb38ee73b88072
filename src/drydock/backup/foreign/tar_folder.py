"""A tar archive of pg_dump, or of the folder that pg_dump -Fd wrote, laid out as such a folder.

pg_restore itself reads a tar archive that is cut off inside a file for ever. Its table of contents says “tar” in both
forms (pg_backup_directory.c writes it so), and a folder's files may be compressed or not.
"""

from __future__ import annotations

import os
import re
import shutil
import tarfile
from typing import IO, TYPE_CHECKING

from drydock.backup.foreign.source import CHUNK, damaged
from drydock.errors import DrydockError

if TYPE_CHECKING:
    from pathlib import Path

    from drydock.backup.foreign.source import Readable

_WANTED = re.compile(r"(?:\./)?(?:[^/]+/)?(toc\.dat|blobs(?:_\d+)?\.toc|(?:\d+|blob_\d+)\.dat(?:\.gz|\.lz4|\.zst)?)")
_END = b"\0" * 512


def lay_out(content: Readable, folder: Path) -> None:
    """Write the archive's files to `folder`, which is empty and ours alone.

    Raises:
        DrydockError: where it is cut off or altered, or has no table of contents.
    """
    ending = _Ending(content)
    try:
        with tarfile.open(fileobj=ending, mode="r|", errorlevel=2) as tar:  # type: ignore[call-overload]
            for member in tar:
                found = _WANTED.fullmatch(member.name)
                file = tar.extractfile(member) if found and member.isreg() else None
                if found and file:
                    _write(folder / found.group(1), file)
    except tarfile.TarError as error:
        raise damaged(f"it is cut off or altered as a tar archive ({error})") from error
    if not ending.seen:
        raise damaged("the end of the tar archive is missing")
    if not (folder / "toc.dat").exists():
        raise DrydockError(
            "This is not a dump of Postgres but a tar archive that pg_dump did not write: it has no toc.dat.",
            hint="Unpack it, and give the dump that is in it.",
        )


def _write(path: Path, content: IO[bytes]) -> None:
    with open(path, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        shutil.copyfileobj(content, file, CHUNK)


class _Ending:
    """Hands through and notes whether the archive's end, a block of zeros, came by."""

    def __init__(self, content: Readable) -> None:
        self._content = content
        self._last = b""
        self.seen = False

    def read(self, size: int) -> bytes:
        """At most `size` bytes; none at the end."""
        data = self._content.read(size)
        self._last = (self._last + data)[-len(_END) :]
        self.seen = self._last == _END
        return data
