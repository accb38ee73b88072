"""Where a throwaway server keeps its data: in memory where that is large enough, else below its folder."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from drydock.engine.process_table import collect, inside
from drydock.engine.processes import AT_ONCE, end_all

MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of random name and mode 0700 is made in it
ROOM = 2 << 30  # bytes that must be free: a container's /dev/shm has 64 MB, which one template can fill
PREFIX = "drydock-test-"
OWNER = "owner"


def prepare(folder: Path, wanted: str) -> Path:
    """Make the data folder and put a link to it in the place where the embedded engine looks for it.

    Args:
        folder: the throwaway server's.
        wanted: `auto`, `disk` for a place below `folder`, or the path of a folder to keep it in.
    """
    _sweep()
    parent = MEMORY if wanted == "auto" and _free(MEMORY) >= ROOM else None
    if wanted not in {"auto", "disk"}:
        parent = Path(wanted)
    volumes = folder / "volumes"
    if parent is None:
        volumes.mkdir(mode=0o700)
        return volumes
    data = Path(tempfile.mkdtemp(dir=parent, prefix=PREFIX))
    volumes.symlink_to(data)
    (data / OWNER).write_text(str(volumes), encoding="utf-8")
    return data


def remove(folder: Path) -> None:
    """End the servers that work in the data folder, and remove it with what led to it."""
    volumes = folder / "volumes"
    data = Path(os.path.realpath(volumes))
    # A checkout that was copied has the link too, to data that is the original's.
    if volumes.is_symlink() and _owner(data) == str(volumes):
        abandon(data)
    _end(folder)
    shutil.rmtree(folder)


def abandon(data: Path) -> None:
    """End the servers that work in a data folder, which may have been removed under them, and remove it."""
    _end(data)
    if data.is_dir():
        shutil.rmtree(data)


def _end(folder: Path) -> None:
    """End the servers in a folder; those that this very process started leave no zombie behind."""
    servers = inside(folder)
    end_all(folder, AT_ONCE)
    for pid in servers:
        collect(pid)


def _sweep() -> None:
    """Remove data in memory whose checkout is gone."""
    for data in MEMORY.glob(f"{PREFIX}*") if MEMORY.is_dir() else ():
        if data.stat().st_uid != os.getuid() or not _owner(data):
            continue
        if os.path.realpath(_owner(data)) != str(data):
            abandon(data)


def _owner(data: Path) -> str:
    try:
        return (data / OWNER).read_text(encoding="utf-8")
    except OSError:
        return ""


def _free(folder: Path) -> int:
    """Bytes that can be written there: a tmpfs promises more than the machine's memory may have left."""
    import psutil

    try:
        return min(shutil.disk_usage(folder).free, psutil.virtual_memory().available)
    except OSError:
        return 0
