"""Files that are either old or new, never half: write beside, fsync, rename, fsync the folder."""

from __future__ import annotations

import os
import struct
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

# ioctl_iflags(2), and EXT4_TOPDIR_FL, which is chattr(1)'s T: what is made in here has nothing to do with each other.
GET_FLAGS, SET_FLAGS, UNRELATED = 0x80086601, 0x40086602, 0x20000


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


def spread(folder: Path) -> None:
    """Have ext4 keep each folder that is made in `folder` in another part of the disk, chosen by its name.

    It keeps them together otherwise, and looks at each inode that was freed there in the last minute or five before it
    takes one for a new file (recently_deleted() in fs/ext4/ialloc.c). A data directory has more than a thousand files:
    made shortly after others were removed, it took up to ten times as long. Other file systems do as they always do.
    """
    if sys.platform != "linux":
        return
    from fcntl import ioctl

    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        # Where the file system has no such flag, or no flags at all, it has not this trouble either.
        with suppress(OSError):
            (flags,) = struct.unpack("l", ioctl(handle, GET_FLAGS, bytes(struct.calcsize("l"))))
            if not flags & UNRELATED:
                ioctl(handle, SET_FLAGS, struct.pack("l", flags | UNRELATED))
    finally:
        os.close(handle)


def others_can_read(path: Path) -> bool:
    """True where group or world may read `path`, which holds secrets."""
    return bool(path.stat().st_mode & 0o077)
