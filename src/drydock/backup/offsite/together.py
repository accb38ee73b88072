"""Several transfers at once, in threads that Ctrl-C does not have to wait for."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from queue import SimpleQueue
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Item = TypeVar("Item")
Result = TypeVar("Result")

# Each may hold one piece of a file in memory.
WORKERS = 6
# Seconds that transfers get to end by themselves after Ctrl-C. One that goes on is left to the end of the process,
# which waits for none of these threads; what it wrote is completed by the next run, as after a kill.
GRACE = 2.0


def together(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Results as they come. After the first error nothing new is begun, what runs is waited for, and it is raised."""
    given = list(items)
    waiting, done, ending = iter(given), SimpleQueue[Future[Result]](), threading.Event()

    def run() -> None:
        for item in waiting:
            if ending.is_set():
                return
            outcome = _outcome(work, item)
            if outcome.exception():
                ending.set()
            done.put(outcome)

    threads = [threading.Thread(target=run, daemon=True) for _ in given[:WORKERS]]
    for thread in threads:
        thread.start()
    try:
        for _ in given:
            yield done.get().result()
    except Exception:
        ending.set()
        _wait(threads, threading.TIMEOUT_MAX)
        raise
    except KeyboardInterrupt:
        ending.set()
        _wait(threads, GRACE)
        raise
    finally:
        ending.set()


def interruptible(call: Callable[[], Result]) -> Result:
    """What `call` returns or raises. It may hold its thread for as long as it likes: Ctrl-C ends the wait."""
    if threading.current_thread() is not threading.main_thread():
        return call()
    (result,) = together(lambda _: call(), [None])
    return result


def _outcome(work: Callable[[Item], Result], item: Item) -> Future[Result]:
    outcome = Future[Result]()
    try:
        outcome.set_result(work(item))
    except BaseException as error:  # noqa: BLE001 - raised where the result is asked for
        outcome.set_exception(error)
    return outcome


def _wait(threads: list[threading.Thread], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, min(deadline - time.monotonic(), threading.TIMEOUT_MAX)))
