"""Redis: the client, a cache of JSON values and a rate limiter. Nothing connects before its first command."""

from app.cache.async_cache import AsyncCache
from app.cache.cache import Cache
from app.cache.client import RedisPolicy, create_async_client, create_client
from app.cache.errors import CacheTenantError, CacheValueError, RateLimiterError
from app.cache.rate_limiter import AsyncRateLimiter, Decision, Rate, RateLimiter, WhenDown

__all__ = [
    "AsyncCache",
    "AsyncRateLimiter",
    "Cache",
    "CacheTenantError",
    "CacheValueError",
    "Decision",
    "Rate",
    "RateLimiter",
    "RateLimiterError",
    "RedisPolicy",
    "WhenDown",
    "create_async_client",
    "create_client",
]
