from __future__ import annotations

import asyncio
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.cache import AsyncRateLimiter, Rate, RateLimiter, RateLimiterError, RedisPolicy, WhenDown, create_async_client

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis

    from tests.proxy import Proxy

HOUR = 3600


@pytest.fixture
def limiter(client: redis.Redis, namespace: str) -> RateLimiter:
    """A limiter whose subjects are this test's own."""
    return RateLimiter(client, namespace, when_down=WhenDown.RAISE)


def test_a_hit_says_what_is_left(limiter: RateLimiter) -> None:
    """Remaining counts down; a refused hit tells when to come back, and counts nothing."""
    rate = Rate(3, HOUR)
    answers = [limiter.hit("ada", rate) for _ in range(5)]
    assert [bool(answer) for answer in answers] == [True, True, True, False, False]
    assert [answer.remaining for answer in answers] == [2, 1, 0, 0, 0]
    assert [answer.retry_after > 0 for answer in answers] == [False, False, False, True, True]
    assert HOUR / 3 - 60 < answers[4].retry_after <= answers[3].retry_after <= HOUR / 3
    assert HOUR - 60 < answers[4].reset_after <= HOUR
    assert limiter.hit("bob", rate).remaining == 2


@pytest.mark.parametrize("threads", [16])
def test_exactly_the_limit_is_allowed_to_threads(limiter: RateLimiter, threads: int) -> None:
    """Sixteen threads at once, 400 hits, 100 allowed: not one more, not one less."""
    rate, together = Rate(100, HOUR), threading.Barrier(threads)

    def call(_number: int) -> int:
        together.wait()
        return sum(limiter.hit("ada", rate).allowed for _ in range(400 // threads))

    with ThreadPoolExecutor(threads) as pool:
        assert sum(pool.map(call, range(threads))) == 100


def test_exactly_the_limit_is_allowed_to_tasks(in_loop: Callable[..., Any], namespace: str) -> None:
    """The same for 400 tasks of one loop."""

    async def body(client: Any) -> int:
        limiter = AsyncRateLimiter(client, namespace, when_down=WhenDown.RAISE)
        answers = await asyncio.gather(*(limiter.hit("ada", Rate(100, HOUR)) for _ in range(400)))
        return sum(answer.allowed for answer in answers)

    assert in_loop(body) == 100


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    limit=st.integers(1, 1000),
    burst=st.integers(0, 50),
    costs=st.lists(st.integers(1, 9), max_size=12),
)
def test_any_mix_of_costs_fits_the_burst(limiter: RateLimiter, limit: int, burst: int, costs: list[int]) -> None:
    """Held against a bucket that counts down: nothing comes free within a period of years."""
    rate = Rate(limit, limit * 10_000, burst)
    left, subject = rate.most, str(uuid4())
    for cost in [cost for cost in costs if cost <= rate.most]:
        answer = limiter.hit(subject, rate, cost)
        assert answer.allowed is (cost <= left)
        left -= cost if answer.allowed else 0
        assert answer.remaining == left


def test_time_frees_what_was_used(limiter: RateLimiter) -> None:
    """After `retry_after` the next hit is allowed, by the clock of Redis; what is whole again leaves no key."""
    rate = Rate(10, 0.5, burst=1)
    assert limiter.hit("ada", rate)
    refused = limiter.hit("ada", rate)
    assert not refused
    time.sleep(refused.retry_after)
    assert limiter.hit("ada", rate)


def test_a_limiter_leaves_keys_that_expire(limiter: RateLimiter, client: redis.Redis, namespace: str) -> None:
    """A subject that comes once does not stay in memory."""
    limiter.hit("ada", Rate(2, 100))
    (key,) = client.scan_iter(match=f"{{{namespace}:*")
    assert 0 < client.pttl(key) <= 50_000


@pytest.mark.parametrize(
    ("limit", "period", "burst"), [(0, 1, 0), (1, 0, 0), (1, -1, 0), (10_000_000, 1, 0), (1, 1, -1), (1, 1e9, 0)]
)
def test_a_rate_that_is_none_is_refused(limit: int, period: float, burst: int) -> None:
    """Before any hit."""
    with pytest.raises(ValueError, match="is no rate"):
        Rate(limit, period, burst)


def test_a_cost_that_never_fits_is_refused(limiter: RateLimiter) -> None:
    """Waiting would not help."""
    with pytest.raises(ValueError, match="never be allowed"):
        limiter.hit("ada", Rate(5, 1), cost=6)


@pytest.mark.parametrize(("when_down", "allowed"), [(WhenDown.ALLOW, True), (WhenDown.DENY, False)])
def test_without_redis_the_caller_s_choice_holds(
    impatient: redis.Redis, proxy: Proxy, when_down: WhenDown, *, allowed: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Allowed or refused as it was made, marked as not counted, and logged once."""
    limiter = RateLimiter(impatient, "gone", when_down=when_down)
    proxy.cut()
    with caplog.at_level(logging.INFO, "app.cache"):
        answers = [limiter.hit("ada", Rate(5, 1)) for _ in range(3)]
    assert {(answer.allowed, answer.counted, answer.retry_after > 0) for answer in answers} == {
        (allowed, False, not allowed)
    }
    assert len(caplog.records) == 1


def test_without_redis_an_error_may_be_the_choice(impatient: redis.Redis, proxy: Proxy) -> None:
    """Typed, with where to look; and the limiter counts again once Redis is back."""
    limiter = RateLimiter(impatient, "gone", when_down=WhenDown.RAISE)
    limiter._availability.pause = 0
    proxy.cut()
    with pytest.raises(RateLimiterError, match="/health/redis"):
        limiter.hit("ada", Rate(5, 1))
    proxy.mend()
    assert limiter.hit("ada", Rate(5, 1)).counted


def test_an_async_limiter_without_redis() -> None:
    """The same choices for tasks; nothing listens on port 1."""

    async def body() -> Any:
        async with create_async_client("redis://127.0.0.1:1/0", RedisPolicy(retries=0)) as client:
            limiter = AsyncRateLimiter(client, "gone", when_down=WhenDown.DENY)
            return [await limiter.hit("ada", Rate(5, 1)) for _ in range(2)]

    assert [answer.allowed for answer in asyncio.run(body())] == [False, False]
