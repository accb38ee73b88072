"""The five Redis commands drydock needs, over a plain socket.

redis-py takes longer to import than `invoke status` may take in all (see benchmarks/RESULTS.md); the protocol of
these commands is a dozen lines (https://redis.io/docs/latest/develop/reference/protocol-spec/, RESP2).
"""

from __future__ import annotations

import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

from drydock.checkout import HOST
from drydock.errors import NotReadyError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import BufferedRWPair

    from drydock.environment import Environment


class RedisReplyError(NotReadyError):
    """Redis answered with an error."""


class Redis:
    """One authenticated connection."""

    def __init__(self, stream: BufferedRWPair) -> None:
        self._stream = stream

    def ask(self, *words: str) -> str:
        """Send one command and return its reply as text; a null reply is empty, an array is its length.

        Raises:
            RedisReplyError: where Redis answers with an error, such as LOADING.
        """
        parts = [word.encode() for word in words]
        request = b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
        self._stream.write(request)
        self._stream.flush()
        return self._reply()

    def info(self, section: str) -> dict[str, str]:
        """One section of INFO."""
        lines = self.ask("INFO", section).splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def _reply(self) -> str:
        line = self._stream.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("Redis closed the connection")
        kind, rest = line[:1], line[1:-2].decode(errors="replace")
        if kind == b"-":
            raise RedisReplyError(f"Redis answers: {rest}.")
        if kind != b"$":
            return rest
        size = int(rest)
        # A length of -1 is the null reply, and no body follows it.
        return self._stream.read(size + 2)[:-2].decode(errors="replace") if size >= 0 else ""


@contextmanager
def connect(environment: Environment, *, timeout: float = 2.0) -> Iterator[Redis]:
    """An authenticated connection to this checkout's Redis.

    Args:
        environment: says where it is and what the password is.
        timeout: seconds for the connection and for each reply.

    Raises:
        OSError: where nothing listens, or it does not answer in time.
        RedisReplyError: where the password is not ours.
    """
    with (
        socket.create_connection((HOST, environment.state.redis_port), timeout=timeout) as connection,
        connection.makefile("rwb") as stream,
    ):
        redis = Redis(stream)
        redis.ask("AUTH", environment.settings.redis_password)
        yield redis


def flush(environment: Environment) -> None:
    """Empty every database of this checkout's Redis.

    Raises:
        NotReadyError: where Redis does not answer.
    """
    _ask(environment, "FLUSHALL")


def require(environment: Environment) -> None:
    """Find out whether a `flush` would succeed, before anything is changed that it belongs to.

    Raises:
        NotReadyError: where Redis does not answer.
    """
    _ask(environment, "PING")


def _ask(environment: Environment, command: str) -> None:
    try:
        with connect(environment, timeout=30) as redis:
            redis.ask(command)
    except OSError as error:
        raise NotReadyError(
            f"Redis does not answer on port {environment.state.redis_port}: {error}.", hint="invoke up"
        ) from error
