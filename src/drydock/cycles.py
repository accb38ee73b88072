"""Python's search for cycles, and where it is not worth its time."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def no_search_for_cycles() -> Iterator[None]:
    """For a body that makes very many objects, none of which refers to one that refers to it.

    The search looks at all of them again and again: a sixth of indexing, a third of a long listing.
    """
    searching = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if searching:
            gc.enable()
