"""A rate limiter: so many hits in a period, counted by Redis for all processes together.

The generic cell rate algorithm (ITU-T I.371, annex A), as one atomic script on one key of a few bytes: a burst of at
most `burst` hits, after which one more comes free every `period / limit` seconds. Time is Redis's own, so that the
clocks of the processes do not matter; all arithmetic is in whole microseconds, which doubles hold exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import RedisError

from app.cache.availability import Availability
from app.cache.errors import RateLimiterError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import redis
    import redis.asyncio

_SECOND: Final = 1_000_000
_HIT: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local interval, burst, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local free = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now)
local limit = now + interval * burst
local wanted = free + interval * cost
if wanted > limit then
  return {0, math.floor((limit - free) / interval), wanted - limit, free - now}
end
redis.call('SET', KEYS[1], string.format('%.0f', wanted), 'PX', math.ceil((wanted - now) / 1000))
return {1, math.floor((limit - wanted) / interval), 0, wanted - now}
"""
"""KEYS: subject. ARGV: microseconds per hit, burst, hits. Returns allowed, hits left, microseconds to wait, to all."""


class WhenDown(StrEnum):
    """What a limiter answers while Redis does not."""

    ALLOW = "allow"
    DENY = "deny"
    RAISE = "raise"


@dataclass(frozen=True)
class Rate:
    """So many hits in so many seconds.

    Attributes:
        limit: hits in a period, from 1.
        period: seconds.
        burst: hits at once after a pause; `limit` by default, so that a period after a pause may see nearly twice
            the limit. 1 spreads hits evenly.
    """

    limit: int
    period: float
    burst: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be counted: Redis's clock has microseconds."""
        if self.limit < 1 or self.burst < 0 or not 1 <= self.interval <= 2**40:
            raise ValueError(f"{self} is no rate: limit from 1, burst from 0, 1 µs to 12 days from hit to hit.")

    @property
    def interval(self) -> int:
        """Microseconds from hit to hit."""
        return round(self.period * _SECOND / self.limit)

    @property
    def most(self) -> int:
        """Hits at once."""
        return self.burst or self.limit


@dataclass(frozen=True)
class Decision:
    """A limiter's answer; true where the hit is allowed.

    Attributes:
        allowed: whether to go on.
        remaining: further hits that would be allowed now.
        retry_after: seconds until the same hit would be allowed; 0 where it is.
        reset_after: seconds until the whole burst is allowed again.
        counted: False where Redis did not answer and nothing was counted.
    """

    allowed: bool
    remaining: int
    retry_after: float
    reset_after: float
    counted: bool = True

    def __bool__(self) -> bool:
        """`if limiter.hit(…):`."""
        return self.allowed


class _Base:
    """What both limiters know: names, arguments, and the answer without Redis."""

    def __init__(self, namespace: str, when_down: WhenDown) -> None:
        self._namespace = namespace
        self._when_down = when_down
        self._availability = Availability(f"the rate limiter {namespace!r} ({when_down})")

    def _call(self, subject: str, rate: Rate, cost: int) -> tuple[list[str], list[int]]:
        if not 1 <= cost <= rate.most:
            raise ValueError(f"{cost} hits at once can never be allowed by {rate}.")
        # What is counted under one rate means nothing under another.
        return [f"{{{self._namespace}:limit:{rate.interval}:{rate.most}:{subject}}}"], [rate.interval, rate.most, cost]

    def _decision(self, reply: Sequence[int]) -> Decision:
        self._availability.answered()
        allowed, remaining, retry, reset = reply
        return Decision(bool(allowed), remaining, retry / _SECOND, reset / _SECOND)

    def _without_redis(self, error: RedisError | None) -> Decision:
        if error:
            self._availability.failed(error)
        if self._when_down is WhenDown.RAISE:
            raise RateLimiterError(
                f"The rate limiter {self._namespace!r} cannot count: Redis does not answer. See /health/redis."
            ) from error
        allowed = self._when_down is WhenDown.ALLOW
        pause = 0.0 if allowed else self._availability.pause
        return Decision(allowed, 0, pause, pause, counted=False)


class RateLimiter(_Base):
    """Counts hits of subjects, for threads.

    Args:
        client: of `create_client`. A hit that Redis counted and whose answer was lost is sent again and counts twice,
            which never allows more.
        namespace: what is limited, such as `login`.
        when_down: what to answer while Redis does not; there is no default, as only the caller knows which is worse.
    """

    def __init__(self, client: redis.Redis, namespace: str, *, when_down: WhenDown) -> None:
        super().__init__(namespace, when_down)
        self._script = client.register_script(_HIT)

    def hit(self, subject: str, rate: Rate, cost: int = 1) -> Decision:
        """Count hits if they are allowed; what is refused counts nothing.

        Args:
            subject: who is limited: an address, a user's id, a tenant's.
            rate: how much is allowed.
            cost: hits that this one stands for.

        Raises:
            ValueError: where `cost` is more than the rate can ever allow.
            RateLimiterError: where Redis does not answer and `when_down` is RAISE.
        """
        keys, arguments = self._call(subject, rate, cost)
        if not self._availability.usable:
            return self._without_redis(None)
        try:
            reply: Any = self._script(keys, arguments)
        except RedisError as error:
            return self._without_redis(error)
        return self._decision(reply)


class AsyncRateLimiter(_Base):
    """`RateLimiter`, to await.

    Args:
        client: of `create_async_client`.
        namespace: what is limited, such as `login`.
        when_down: what to answer while Redis does not.
    """

    def __init__(self, client: redis.asyncio.Redis, namespace: str, *, when_down: WhenDown) -> None:
        super().__init__(namespace, when_down)
        self._script = client.register_script(_HIT)

    async def hit(self, subject: str, rate: Rate, cost: int = 1) -> Decision:
        """Count hits if they are allowed; what is refused counts nothing. See `RateLimiter.hit`."""
        keys, arguments = self._call(subject, rate, cost)
        if not self._availability.usable:
            return self._without_redis(None)
        try:
            reply: Any = await self._script(keys, arguments)
        except RedisError as error:
            return self._without_redis(error)
        return self._decision(reply)
