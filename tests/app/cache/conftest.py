"""A real Redis with a namespace of each test's own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from app.cache import RedisPolicy, create_async_client, create_client
from tests.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    import redis

    from tests.checkout import Checkout


@pytest.fixture(scope="session")
def redis_url(scratch: Checkout) -> str:
    """A running Redis."""
    return scratch.environment.redis_url()


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    """A client as a service makes it, with room for tests of many threads."""
    client = create_client(redis_url, RedisPolicy(max_connections=40, timeout=10, pool_timeout=10))
    yield client
    client.close()


@pytest.fixture
def namespace(client: redis.Redis) -> Iterator[str]:
    """A namespace that no other test has; its keys are gone afterwards."""
    name = f"test-{uuid4().hex[:12]}"
    yield name
    for key in client.scan_iter(match=f"{{{name}:*"):
        client.delete(key)


@pytest.fixture
def proxy(redis_url: str) -> Iterator[Proxy]:
    """A way to Redis that can fail."""
    with Proxy(redis_url) as proxy:
        yield proxy


@pytest.fixture
def impatient(proxy: Proxy) -> Iterator[redis.Redis]:
    """A client through the proxy that gives up at once."""
    policy = RedisPolicy(connect_timeout=0.2, timeout=0.2, retries=0)
    client = create_client(proxy.url, policy)
    yield client
    client.close()


@pytest.fixture
def in_loop(redis_url: str) -> Callable[[Callable[[Any], Awaitable[Any]]], Any]:
    """Run a coroutine function in an event loop of its own, with an async client."""

    def run(body: Callable[[Any], Awaitable[Any]]) -> Any:
        async def main() -> Any:
            async with create_async_client(redis_url, RedisPolicy(max_connections=40, timeout=10)) as client:
                return await body(client)

        return asyncio.run(main())

    return run
