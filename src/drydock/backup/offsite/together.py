"""Several transfers at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Item = TypeVar("Item")
Result = TypeVar("Result")

# Each may hold one piece of a file in memory.
WORKERS = 6


def together(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Results as they come. After the first error nothing new is begun, what runs is waited for, and it is raised."""
    with ThreadPoolExecutor(WORKERS) as pool:
        futures = [pool.submit(work, item) for item in items]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)
