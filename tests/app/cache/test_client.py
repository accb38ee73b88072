from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from app.cache import RedisPolicy, create_async_client, create_client

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis

    from tests.proxy import Proxy


def test_a_client_answers_under_its_name(redis_url: str) -> None:
    """Connected with the URL's password; text comes back as text."""
    with create_client(redis_url, RedisPolicy(client_name="orders")) as client:
        assert client.ping() is True
        assert client.client_getname() == "orders"


def test_an_async_client_answers_under_its_name(in_loop: Callable[..., Any]) -> None:
    """The same for tasks."""

    async def body(client: Any) -> tuple[bool, str]:
        return await client.ping(), await client.client_getname()

    assert in_loop(body) == (True, "app")


def test_nothing_connects_before_the_first_command(proxy: Proxy) -> None:
    """Making a client is safe at import."""
    create_client(proxy.url).close()
    assert proxy.opened == 0


def test_a_url_that_is_none_is_refused() -> None:
    """The mistake shows where the client is made, not at the first command."""
    with pytest.raises(ValueError, match="redis://"):
        create_client("localhost:6379")
    with pytest.raises(ValueError, match="redis://"):
        create_async_client("localhost:6379")


def test_a_silent_redis_is_given_up(impatient: redis.Redis, proxy: Proxy) -> None:
    """A cut connection ends in a timeout, and a mended network works again with the same client."""
    impatient.ping()
    proxy.lose()
    with pytest.raises(RedisTimeoutError):
        impatient.ping()
    proxy.mend()
    assert impatient.ping() is True


def test_a_redis_that_is_gone_is_refused_at_once_and_found_again(impatient: redis.Redis, proxy: Proxy) -> None:
    """No retries here: the error comes straight; a retry would hide one lost connection."""
    impatient.ping()
    proxy.cut()
    with pytest.raises(RedisConnectionError):
        impatient.ping()
    proxy.mend()
    assert impatient.ping() is True


def test_the_pool_has_an_end(redis_url: str) -> None:
    """With every connection taken a caller waits no longer than it was told."""
    with create_client(redis_url, RedisPolicy(max_connections=1, pool_timeout=0.05)) as client:
        taken = client.connection_pool.get_connection()
        with pytest.raises(RedisConnectionError, match="No connection available"):
            client.ping()
        client.connection_pool.release(taken)
        assert client.ping() is True


def test_one_lost_connection_is_retried(proxy: Proxy) -> None:
    """With the default policy a caller does not notice that Redis was restarted in between."""

    async def body() -> bool:
        async with create_async_client(proxy.url) as client:
            await client.ping()
            proxy.cut()
            proxy.mend()
            return bool(await client.ping())

    assert asyncio.run(body()) is True
