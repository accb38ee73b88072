"""A file system with little room, for tests of what happens where there is none."""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def mounted(folder: Path, megabytes: int) -> Iterator[None]:
    """Have a folder, which is made where it is missing, lie on a disk of that size; in CI this must work."""
    folder.mkdir(mode=0o700, exist_ok=True)
    options = f"size={megabytes}m,mode=700"
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=False)
    if done.returncode and os.environ.get("CI"):
        pytest.fail("CI must be allowed to mount a small disk")
    if done.returncode:
        pytest.skip("only root may mount a small disk")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def remount(folder: Path, options: str) -> None:
    """Change what `mounted` has made: `size=9m`, or `ro`."""
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)
