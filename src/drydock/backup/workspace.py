"""Folders that are worked in: held by flock(2) while somebody does, cleared by the next one after a kill."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PREFIX = ".unfinished-"
REMOVING = ".removing-"


@contextmanager
def working_in(parent: Path) -> Iterator[Path]:
    """A new folder in `parent` (mode 0700); whatever is still called by its name at the end is removed."""
    parent.mkdir(parents=True, exist_ok=True)
    path = parent / f"{PREFIX}{secrets.token_hex(6)}"
    with ExitStack() as stack:
        # Nobody may look for leftovers between the folder's making and our hold on it.
        with held(parent, wait=True):
            _clear(parent)
            path.mkdir(mode=0o700)
            stack.enter_context(held(path))
        try:
            yield path
        finally:
            if path.exists():
                shutil.rmtree(path)


def clear(parent: Path) -> list[str]:
    """Remove what killed tasks left in `parent`; returns names. What somebody still works in is left alone."""
    if not parent.is_dir():
        return []
    with held(parent, wait=True):
        return _clear(parent)


@contextmanager
def held(folder: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold flock(2) on a folder: it ends with its holder, and without `wait` a program we start holds it too.

    Raises:
        BlockingIOError: where somebody else holds it, and `wait` was not asked for.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        os.set_inheritable(handle, not wait)
        yield
    finally:
        os.close(handle)


def _clear(parent: Path) -> list[str]:
    removed = []
    for path in parent.glob(".*"):
        if path.name.startswith((PREFIX, REMOVING)) and abandoned(path):
            shutil.rmtree(path)
            removed.append(path.name)
    return removed


def abandoned(folder: Path) -> bool:
    """True where nobody works in a folder (any more)."""
    try:
        with held(folder):
            return True
    except (BlockingIOError, FileNotFoundError):
        return False
