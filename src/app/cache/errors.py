"""What the cache and the rate limiter raise."""

from __future__ import annotations

from app.errors import AppError, TenantError


class CacheValueError(AppError):
    """A value is not JSON, so that it cannot be cached."""


class CacheTenantError(TenantError):
    """A tenant's cache was used where no tenant is set: its values must not be shared by accident."""


class RateLimiterError(AppError):
    """Redis does not answer and this limiter was told to raise then."""
