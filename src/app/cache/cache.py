"""A cache of JSON values for threads; see `app.cache.async_cache` for tasks."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from redis.exceptions import RedisError

from app.cache import entries
from app.cache.availability import Availability, Unreachable
from app.cache.entries import FIRST_PAUSE, LAST_PAUSE, WAIT_SECONDS, Found, Keys, Lease

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from uuid import UUID

    import redis


class Cache:
    """Values by key, per namespace and tenant, with a time to live.

    Without Redis everything goes on: values are computed each time, a line in the log says so, and Redis is asked
    again a second later.

    Args:
        client: of `create_client`.
        namespace: what is cached here, such as `prices`; lower-case.
        tenant: tells the tenant of now, such as `current_tenant`; None for values that all tenants share.
        wait: seconds for which a caller waits for another one's computation before it computes on its own.
    """

    def __init__(
        self,
        client: redis.Redis,
        namespace: str,
        *,
        tenant: Callable[[], UUID | None] | None,
        wait: float = WAIT_SECONDS,
    ) -> None:
        self._client = client
        self._keys = Keys(namespace, tenant)
        self._wait = wait
        self._availability = Availability(f"the cache {namespace!r}")
        self._read = client.register_script(entries.READ)
        self._lease = client.register_script(entries.LEASE)
        self._store = client.register_script(entries.STORE)
        self._release = client.register_script(entries.RELEASE)

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a key, or `default` where there is none.

        Raises:
            CacheTenantError: where no tenant is set.
        """
        name = self._keys.entry(key)
        try:
            found = entries.found(self._ask(self._read, [name]))
        except Unreachable:
            return default
        return default if found is None else found.value

    def get_or_set(self, key: str, compute: Callable[[], Any], *, ttl: float, tags: Sequence[str] = ()) -> Any:
        """The value of a key, computed where there is none: of many callers at once one computes, the others wait.

        A popular value is computed anew shortly before it expires, by one caller, while the others get the old one.

        Args:
            key: any text.
            compute: returns a value that JSON can hold; what it raises reaches the caller, and nothing is stored.
            ttl: seconds to live, a tenth more or less.
            tags: names under which `invalidate` finds it.

        Returns:
            The value as JSON gives it back (a tuple is a list), the same whether it was computed or found.

        Raises:
            CacheValueError: where the value is not JSON.
            CacheTenantError: where no tenant is set.
        """
        try:
            result = self._find_or_lease(key, tags, ttl)
        except Unreachable:
            result = None
        if isinstance(result, Found):
            return result.value
        return self._compute(key, compute, ttl, result)

    def delete(self, key: str, *more: str) -> bool:
        """Forget these keys; what is being computed for them now is not stored either.

        Returns:
            False where Redis did not answer: an old value may be served until it expires.
        """
        return self._tell(self._client.delete, *entries.names(self._keys, [key, *more]))

    def invalidate(self, tag: str, *more: str) -> bool:
        """Forget every value with one of these tags; what is being computed with them now is not served later.

        Returns:
            False where Redis did not answer: an old value may be served until it expires.
        """
        return self._tell(self._client.delete, *self._keys.tags([tag, *more]))

    def _find_or_lease(self, key: str, tags: Sequence[str], ttl: float) -> Found | Lease | None:
        """An entry, or the right to compute it; None where another caller has that for too long."""
        deadline, pause = time.monotonic() + self._wait, FIRST_PAUSE
        while True:
            found = entries.found(self._ask(self._read, [self._keys.entry(key)]))
            if found and not found.due(entries.draw()):
                return found
            call = entries.lease_call(self._keys, key, tags, ttl, absent=found is None)
            lease = entries.granted(call, self._ask(self._lease, call.keys, call.arguments))
            if lease or found or time.monotonic() >= deadline:
                return lease or found
            time.sleep(pause)
            pause = min(2 * pause, LAST_PAUSE)

    def _compute(self, key: str, compute: Callable[[], Any], ttl: float, lease: Lease | None) -> Any:
        begun = time.monotonic()
        try:
            text = entries.encode(compute())
        except BaseException:
            if lease:
                self._tell(self._release, [self._keys.lease(key)], [lease.token])
            raise
        if lease:
            call = entries.store_call(self._keys, key, lease, (text, time.monotonic() - begun), ttl)
            self._tell(self._store, call.keys, call.arguments)
        return entries.decode(text)

    def _ask(self, command: Callable[..., Any], *arguments: Any) -> Any:
        """What Redis answers.

        Raises:
            Unreachable: where it does not, or did not a moment ago.
        """
        if not self._availability.usable:
            raise Unreachable
        try:
            answer = command(*arguments)
        except RedisError as error:
            self._availability.failed(error)
            raise Unreachable from error
        self._availability.answered()
        return answer

    def _tell(self, command: Callable[..., Any], *arguments: Any) -> bool:
        """Whether Redis took it; tried even where it did not answer a moment ago."""
        try:
            command(*arguments)
        except RedisError as error:
            self._availability.failed(error)
            return False
        self._availability.answered()
        return True
