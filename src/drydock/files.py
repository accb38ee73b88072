"""Files that are either old or new, never half: write beside, fsync, rename, fsync the folder."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def write_atomic(path: Path, text: str, *, mode: int = 0o600, durable: bool = True) -> None:
    """Replace `path` by `text` so that a kill at any moment leaves the old file or the new one.

    Args:
        path: the file; its folder must exist.
        text: the whole new content.
        mode: permission bits of the new file, whatever the umask says.
        durable: whether it must survive a power cut; what every start writes anew need not.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            os.fchmod(stream.fileno(), mode)
            stream.write(text)
            stream.flush()
            if durable:
                os.fsync(stream.fileno())
        Path(name).replace(path)
    except BaseException:
        # Ctrl-C may come right after the rename: there is nothing to take away then.
        Path(name).unlink(missing_ok=True)
        raise
    if durable:
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut (fsync(2): the directory needs its own)."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def others_can_read(path: Path) -> bool:
    """True where group or world may read `path`, which holds secrets."""
    return bool(path.stat().st_mode & 0o077)
