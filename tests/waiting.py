"""Waiting with an end for what no event tells of, such as the server's own view or a state of Docker's."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE = 20.0  # seconds
POLL = 0.005  # seconds


def eventually(condition: Callable[[], object], what: object, seconds: float = PATIENCE) -> None:
    """Wait until something holds; fail with `what` was waited for, after 20 s unless it is told otherwise."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(POLL)
