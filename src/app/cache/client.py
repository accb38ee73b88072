"""The one way to make a Redis client: explicit timeouts and few retries.

redis-py 8 retries ten times with timeouts of 5 s by default, so that a request waits about a minute for a Redis that
is gone (computed from redis/_defaults.py of 8.1.0). A cache that is slower than what it caches is no help: here the
defaults give up within seconds, and callers degrade.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import ExponentialWithJitterBackoff
from redis.maint_notifications import MaintNotificationsConfig
from redis.retry import Retry

BACKOFF_FIRST, BACKOFF_MOST = 0.02, 0.2


@dataclass(frozen=True, kw_only=True)
class RedisPolicy:
    """How to talk with Redis; all times in seconds.

    Attributes:
        connect_timeout: for the TCP connection.
        timeout: for each reply; a blocking command needs a client of its own with more.
        retries: after a failed attempt, on connection errors and timeouts. A command that timed out may have been
            carried out, so that with retries it may be carried out twice.
        max_connections: of this process.
        pool_timeout: how long a caller waits for a free connection.
        health_check_interval: a connection unused for longer is pinged before use.
        client_name: what CLIENT LIST shows.
    """

    connect_timeout: float = 0.5
    timeout: float = 1.0
    retries: int = 1
    max_connections: int = 20
    pool_timeout: float = 1.0
    health_check_interval: int = 30
    client_name: str = "app"


DEFAULT = RedisPolicy()


def create_client(url: str, policy: RedisPolicy = DEFAULT) -> redis.Redis:
    """A client with a pool of its own, for any number of threads; `close()` ends it.

    Args:
        url: `redis://`, `rediss://` (the server is verified) or `unix://`; its query parameters win over the policy.
        policy: timeouts and retries.

    Raises:
        ValueError: where the URL is none; nothing is connected yet.
    """
    retry = Retry(ExponentialWithJitterBackoff(BACKOFF_MOST, BACKOFF_FIRST), policy.retries)
    pool = redis.BlockingConnectionPool.from_url(url, retry=retry, **_options(policy))
    return redis.Redis.from_pool(pool)


def create_async_client(url: str, policy: RedisPolicy = DEFAULT) -> redis.asyncio.Redis:
    """A client with a pool of its own, for any number of tasks of one event loop; `aclose()` ends it.

    Args:
        url: `redis://`, `rediss://` (the server is verified) or `unix://`; its query parameters win over the policy.
        policy: timeouts and retries.

    Raises:
        ValueError: where the URL is none; nothing is connected yet.
    """
    retry = AsyncRetry(ExponentialWithJitterBackoff(BACKOFF_MOST, BACKOFF_FIRST), policy.retries)
    pool = redis.asyncio.BlockingConnectionPool.from_url(url, retry=retry, **_options(policy))
    return redis.asyncio.Redis.from_pool(pool)


def _options(policy: RedisPolicy) -> dict[str, Any]:
    return {
        "socket_connect_timeout": policy.connect_timeout,
        "socket_timeout": policy.timeout,
        "max_connections": policy.max_connections,
        "timeout": policy.pool_timeout,
        "health_check_interval": policy.health_check_interval,
        "client_name": policy.client_name,
        "decode_responses": True,
        # A round trip of every new connection, for a service of Redis Enterprise alone.
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
    }
