"""Whether Redis answers: so that a Redis that is gone costs one timeout now and then, not one per request."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis.exceptions import RedisError

_LOGGER = logging.getLogger(__name__)
PAUSE = 1.0


class Unreachable(Exception):  # noqa: N818 - never leaves the cache: a branch, not an error
    """Redis does not answer, or did not a moment ago."""


class Availability:
    """Remembers a failure for a moment, and logs once when Redis goes and once when it is back.

    Args:
        user: who is affected, for the log.
        pause: seconds for which Redis is left alone after a failure.
        clock: monotonic seconds.
    """

    def __init__(self, user: str, *, pause: float = PAUSE, clock: Callable[[], float] = time.monotonic) -> None:
        self.pause = pause
        self._user = user
        self._clock = clock
        self._failed_at: float | None = None

    @property
    def usable(self) -> bool:
        """True where asking Redis is worth the time."""
        return self._failed_at is None or self._clock() - self._failed_at >= self.pause

    def failed(self, error: RedisError) -> None:
        """Redis did not answer, or could not do what was asked."""
        if self._failed_at is None:
            _LOGGER.warning("%s goes on without Redis: %s: %s", self._user, type(error).__name__, error)
        self._failed_at = self._clock()

    def answered(self) -> None:
        """Redis did what was asked."""
        if self._failed_at is not None:
            _LOGGER.warning("%s uses Redis again", self._user)
        self._failed_at = None
