from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from app.cache import AsyncCache, RedisPolicy, create_async_client

if TYPE_CHECKING:
    from collections.abc import Callable

CALLERS = 30


class Computation:
    """Counts how often it ran, and lets others run meanwhile."""

    def __init__(self, value: Any = "value") -> None:
        self.value = value
        self.runs = 0

    async def __call__(self) -> Any:
        """Compute."""
        self.runs += 1
        await asyncio.sleep(0.02)
        return self.value


def test_of_many_tasks_one_computes(in_loop: Callable[..., Any], namespace: str) -> None:
    """All get its value; then it is found, until its tag or its key is forgotten."""
    compute = Computation()

    async def body(client: Any) -> None:
        cache = AsyncCache(client, namespace, tenant=None)
        calls = [cache.get_or_set("a", compute, ttl=60, tags=["t"]) for _ in range(CALLERS)]
        assert set(await asyncio.gather(*calls)) == {"value"}
        assert (compute.runs, await cache.get("a"), await cache.get("b", 1)) == (1, "value", 1)
        assert await cache.invalidate("t")
        await cache.get_or_set("a", compute, ttl=60)
        assert await cache.delete("a")
        await cache.get_or_set("a", compute, ttl=60)

    in_loop(body)
    assert compute.runs == 3


def test_a_cancelled_computation_frees_its_key(in_loop: Callable[..., Any], namespace: str) -> None:
    """The next caller computes without waiting for a lease that nobody holds."""

    async def body(client: Any) -> Any:
        cache, begun = AsyncCache(client, namespace, tenant=None), asyncio.Event()

        async def forever() -> None:
            begun.set()
            await asyncio.Event().wait()

        task = asyncio.create_task(cache.get_or_set("a", forever, ttl=60))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return await asyncio.wait_for(cache.get_or_set("a", Computation("next"), ttl=60), 2)

    assert in_loop(body) == "next"


def test_without_redis_values_are_computed(namespace: str) -> None:
    """Nothing listens on port 1; an invalidation that was lost is told."""

    async def body() -> tuple[Any, ...]:
        policy = RedisPolicy(connect_timeout=0.2, retries=0)
        async with create_async_client("redis://127.0.0.1:1/0", policy) as client:
            cache = AsyncCache(client, namespace, tenant=None)
            value = await cache.get_or_set("a", Computation(), ttl=60)
            return value, await cache.delete("a"), await cache.get("a", "none")

    assert asyncio.run(body()) == ("value", False, "none")
