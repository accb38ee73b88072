"""Checks of Redis, asked over a connection of their own."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import AuthenticationError, BusyLoadingError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from app.cache import RedisPolicy, create_client
from app.health.check import Check, Status

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

NEARLY_FULL: Final = 0.9


class RedisQuestion:
    """What to ask Redis.

    Args:
        url: where it is.
        timeout: seconds for the connection and for each answer.
    """

    def __init__(self, url: str, timeout: float) -> None:
        policy = RedisPolicy(
            connect_timeout=timeout, timeout=timeout, retries=0, max_connections=1, client_name="health"
        )
        self._client = create_client(url, policy)

    def __call__(self) -> list[Check]:
        """Two commands; the connection is kept for the next time."""
        begun = time.monotonic()
        try:
            self._client.ping()
            took = round((time.monotonic() - begun) * 1000, 1)
            information: Any = self._client.info()
        except RedisError as error:
            return [Check(name="redis:responseTime", status=Status.FAIL, output=_reason(error), cause=str(error))]
        return [Check(name="redis:responseTime", value=took, unit="ms"), *_state(information)]

    def close(self) -> None:
        """End the connection."""
        self._client.close()


def _state(information: Mapping[str, Any]) -> Iterator[Check]:
    loading = bool(information["loading"])
    output = "Redis is still loading its data" if loading else ""
    yield Check(
        name="redis:loading",
        status=Status.FAIL if loading else Status.PASS,
        value="yes" if loading else "no",
        output=output,
    )
    yield _memory(information["used_memory"], information["maxmemory"], information["maxmemory_policy"])
    yield Check(name="redis:version", value=information["redis_version"])


def _memory(used: int, maximum: int, policy: str) -> Check:
    """A full Redis that evicts nothing refuses writes; one that evicts is meant to be full."""
    details = {"maxmemory": maximum, "maxmemoryPolicy": policy}
    full = policy == "noeviction" and maximum > 0 and used > NEARLY_FULL * maximum
    return Check(
        name="redis:memory",
        status=Status.WARN if full else Status.PASS,
        value=used,
        unit="bytes",
        output="memory is nearly used up, and then writes are refused (noeviction)" if full else "",
        details=details,
    )


def _reason(error: RedisError) -> str:
    """Why there was no answer, for strangers."""
    if isinstance(error, BusyLoadingError):
        return "Redis is still loading its data"
    if isinstance(error, AuthenticationError):
        return "the login was refused"
    if isinstance(error, RedisTimeoutError):
        return "no answer in time"
    return "the server reported an error" if isinstance(error, ResponseError) else "no connection"
