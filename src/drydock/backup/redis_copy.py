"""Redis beside a backup: its keys as the commands that bring them back, in the form `redis-cli --pipe` takes."""

from __future__ import annotations

import io
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from drydock.backup import packing
from drydock.checkout import HOST
from drydock.errors import DrydockError, NotReadyError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from drydock.backup.encryption import Sealing
    from drydock.backup.manifest import PackedFile
    from drydock.environment import Environment

FILE = "redis.resp.zst"
BATCH = 500


def save(environment: Environment, target: Path, sealing: Sealing) -> tuple[int, PackedFile]:
    """Write every key of database 0 with its value and its end of life; returns how many, and the packed file.

    Keys that are written meanwhile are in it or not, each whole: Redis has no snapshot that a client can read from.

    Raises:
        NotReadyError: where Redis does not answer.
        DrydockError: where there are keys in other databases, which would be lost by a restore.
    """
    with _connected(environment) as redis:
        _refuse_others(redis)
        commands = _Commands(redis)
        packed = packing.pack(cast("BinaryIO", commands), target, sealing)
    return commands.keys, packed


def _refuse_others(redis: Any) -> None:
    others = sorted(redis.info("keyspace").keys() - {"db0"})
    if others:
        raise DrydockError(
            f"Redis has keys in {', '.join(others)} as well, and only those of database 0 can be saved.",
            hint="Leave out --redis, or empty the others: invoke redis-cli -c '-n 1 FLUSHDB'",
        )


def load(environment: Environment, source: BinaryIO) -> int:
    """Replace all that Redis holds by what `save` wrote; returns the number of keys.

    Raises:
        NotReadyError: where Redis does not answer.
        DrydockError: where this Redis is older than the one that wrote it.
    """
    import redis as library

    keys = 0
    with _connected(environment) as redis:
        redis.flushall()
        for batch in _batches(source):
            pipe = redis.pipeline(transaction=False)
            for command in batch:
                pipe.execute_command(*command)
            try:
                pipe.execute()
            except library.ResponseError as error:
                raise DrydockError(
                    f"Redis refused a saved key: {error}. Redis is empty now.",
                    hint="Keys of a newer Redis cannot be read by an older one.",
                ) from error
            keys += len(batch)
    return keys


class _Commands:
    """All keys as RESTORE commands, read like a file: one batch at a time is in memory."""

    def __init__(self, redis: Any) -> None:
        self.redis, self.keys = redis, 0
        self.names = redis.scan_iter(count=BATCH)
        self.pending = io.BytesIO()

    def read(self, size: int = -1) -> bytes:
        data = self.pending.read(size)
        while not data:
            names = [name for name, _ in zip(self.names, range(BATCH), strict=False)]
            if not names:
                return b""
            self.pending = io.BytesIO(b"".join(self._restoring(names)))
            data = self.pending.read(size)
        return data

    def _restoring(self, names: list[bytes]) -> Iterator[bytes]:
        pipe = self.redis.pipeline(transaction=False)
        for name in names:
            pipe.dump(name)
            pipe.pttl(name)
        found = pipe.execute()
        now = int(time.time() * 1000)
        for name, value, left in zip(names, found[::2], found[1::2], strict=True):
            if value is None:
                continue
            self.keys += 1
            ends = (str(now + left).encode(), b"ABSTTL") if left >= 0 else (b"0",)
            yield _encode(b"RESTORE", name, ends[0], value, b"REPLACE", *ends[1:])


def _encode(*words: bytes) -> bytes:
    """One command as Redis reads it (RESP2)."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


def _batches(source: BinaryIO) -> Iterator[list[list[bytes]]]:
    batch: list[list[bytes]] = []
    while line := source.readline():
        words = []
        for _ in range(int(line[1:])):
            words.append(source.read(int(source.readline()[1:])))
            source.read(2)
        batch.append(words)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


@contextmanager
def _connected(environment: Environment) -> Iterator[Any]:
    import redis as library

    client = library.Redis(
        host=HOST, port=environment.state.redis_port, password=environment.settings.redis_password, socket_timeout=30
    )
    try:
        yield client
    except (library.ConnectionError, library.TimeoutError) as error:
        raise NotReadyError(
            f"Redis does not answer on port {environment.state.redis_port}: {error}.", hint="invoke up"
        ) from error
    finally:
        client.close()
