from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.cache import Cache, CacheTenantError, CacheValueError
from app.cache.entries import Found
from app.db.tenancy import current_tenant, tenant_context

if TYPE_CHECKING:
    import redis

    from tests.proxy import Proxy

CALLERS = 16
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


class Computation:
    """Counts how often it ran, and can be held in the middle."""

    def __init__(self, value: Any = "value") -> None:
        self.value = value
        self.runs = 0
        self.begun = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()

    def __call__(self) -> Any:
        """Compute."""
        self.runs += 1
        self.begun.set()
        assert self.go_on.wait(10)
        return self.value


@pytest.fixture
def cache(client: redis.Redis, namespace: str) -> Cache:
    """A cache that all tenants share."""
    return Cache(client, namespace, tenant=None)


def test_a_value_is_computed_once(cache: Cache) -> None:
    """The second caller gets what the first one's computation returned."""
    compute = Computation({"price": 3})
    assert [cache.get_or_set("a", compute, ttl=60) for _ in range(2)] == [{"price": 3}] * 2
    assert (compute.runs, cache.get("a"), cache.get("b", "none")) == (1, {"price": 3}, "none")


def test_a_null_is_a_value(cache: Cache) -> None:
    """That there is nothing is worth remembering too."""
    compute = Computation(None)
    assert [cache.get_or_set("a", compute, ttl=60) for _ in range(2)] == [None, None]
    assert compute.runs == 1


def test_the_first_caller_gets_what_the_second_will(cache: Cache) -> None:
    """A tuple and number keys become a list and text, at once and not only from the second call on."""
    assert cache.get_or_set("a", lambda: {1: (2, 3)}, ttl=60) == cache.get("a") == {"1": [2, 3]}


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), JSON, max_size=4))
def test_any_key_holds_any_json(client: redis.Redis, namespace: str, values: dict[str, Any]) -> None:
    """Keys do not run into one another, whatever is in them."""
    cache = Cache(client, f"{namespace}-{uuid4().hex[:8]}", tenant=None)
    for key, value in values.items():
        assert cache.get_or_set(key, Computation(value), ttl=60, tags=[key]) == value
    assert {key: cache.get(key) for key in values} == values


@pytest.mark.parametrize("value", [object(), {1, 2}, float("nan"), b"bytes"], ids=["object", "set", "nan", "bytes"])
def test_what_is_no_json_is_refused(cache: Cache, value: Any) -> None:
    """Nothing is stored, and the key is free for the next caller."""
    with pytest.raises(CacheValueError, match="must be JSON"):
        cache.get_or_set("a", lambda: value, ttl=60)
    assert cache.get_or_set("a", lambda: 1, ttl=60) == 1


def test_a_failed_computation_stores_nothing(cache: Cache) -> None:
    """Its error reaches the caller, and the next one computes without waiting."""
    with pytest.raises(ZeroDivisionError):
        cache.get_or_set("a", lambda: 1 // 0, ttl=60)
    assert cache.get_or_set("a", lambda: 1, ttl=60) == 1


def test_tenants_do_not_meet(client: redis.Redis, namespace: str) -> None:
    """The same key holds each tenant's own value; invalidating one's leaves the other's."""
    cache, tenants = Cache(client, namespace, tenant=current_tenant), [uuid4(), uuid4()]
    for tenant in tenants:
        with tenant_context(tenant):
            cache.get_or_set("a", Computation(str(tenant)), ttl=60, tags=["t"])
    with tenant_context(tenants[1]):
        cache.invalidate("t")
        assert cache.get("a") is None
    with tenant_context(tenants[0]):
        assert cache.get("a") == str(tenants[0])


def test_no_tenant_is_an_error(client: redis.Redis, namespace: str) -> None:
    """A value that belongs to somebody is never kept for everybody."""
    cache = Cache(client, namespace, tenant=current_tenant)
    for use in (cache.get, cache.delete, cache.invalidate, lambda key: cache.get_or_set(key, int, ttl=1)):
        with pytest.raises(CacheTenantError, match="tenant_context"):
            use("a")


def test_of_many_callers_one_computes(cache: Cache) -> None:
    """All get its value; the others wait for it."""
    compute, together = Computation(), threading.Barrier(CALLERS)

    def call(_number: int) -> Any:
        together.wait()
        return cache.get_or_set("a", compute, ttl=60)

    with ThreadPoolExecutor(CALLERS) as threads:
        assert set(threads.map(call, range(CALLERS))) == {"value"}
    assert compute.runs == 1


def test_a_caller_does_not_wait_for_ever(client: redis.Redis, namespace: str) -> None:
    """Where another one's computation takes too long, it computes on its own, and that is not stored."""
    cache, slow = Cache(client, namespace, tenant=None, wait=0.05), Computation("slow")
    slow.go_on.clear()
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(cache.get_or_set, "a", slow, ttl=60)
        assert slow.begun.wait(10)
        assert cache.get_or_set("a", lambda: "own", ttl=60) == "own"
        slow.go_on.set()
        assert first.result() == "slow"
    assert cache.get("a") == "slow"


def test_a_tag_forgets_all_that_carries_it(cache: Cache) -> None:
    """And nothing else; what is computed afterwards is kept under the same tag."""
    for key, tags in (("a", ["x"]), ("b", ["x", "y"]), ("c", ["y"]), ("d", [])):
        cache.get_or_set(key, Computation(key), ttl=60, tags=tags)
    assert cache.invalidate("x") is True
    assert [cache.get(key) for key in "abcd"] == [None, None, "c", "d"]
    cache.get_or_set("a", lambda: "new", ttl=60, tags=["x"])
    assert cache.get("a") == "new"


@pytest.mark.parametrize("forget", ["invalidate", "delete"])
def test_what_was_invalidated_while_it_was_computed_is_not_served(cache: Cache, forget: str) -> None:
    """The computation began with old data: its own caller gets it, later ones compute anew."""
    old = Computation("old")
    old.go_on.clear()
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(cache.get_or_set, "a", old, ttl=60, tags=["a"])
        assert old.begun.wait(10)
        getattr(cache, forget)("a")
        old.go_on.set()
        assert first.result() == "old"
    assert cache.get_or_set("a", lambda: "new", ttl=60, tags=["a"]) == "new"


def test_values_expire_spread(cache: Cache, client: redis.Redis, namespace: str) -> None:
    """What was stored together expires over a fifth of its time to live, and nothing stays for ever."""
    for number in range(30):
        cache.get_or_set(str(number), int, ttl=1000, tags=["t"])
    keys = list(client.scan_iter(match=f"{{{namespace}:*"))
    left = [client.pttl(key) / 1000 for key in keys if ":entry:" in key]
    assert min(left) > 890
    assert max(left) <= 1100
    assert max(left) - min(left) > 20
    assert [client.pttl(key) > 1_000_000 for key in keys if ":tag:" in key] == [True]
    assert len(keys) == 31


@pytest.mark.parametrize(
    ("cost", "remaining", "draw", "due"),
    [(1, 10, 0.5, False), (1, 0.5, 0.5, True), (0, 1, 1e-9, False), (5, 10, 0.1, True), (5, 10, 1, False)],
)
def test_when_a_value_is_computed_anew(cost: float, remaining: float, draw: float, *, due: bool) -> None:
    """The likelier the dearer it is and the nearer its end; the formula of XFetch."""
    assert Found("value", cost, remaining).due(draw) is due


def test_a_popular_value_is_renewed_by_one_caller(cache: Cache, client: redis.Redis, namespace: str) -> None:
    """While one computes the new value, others get the old one without waiting."""
    cache.get_or_set("a", lambda: "old", ttl=60)
    client.hset(f"{{{namespace}:shared}}:entry:a", "cost", 1e9)  # as if it had taken so long: due at once
    renewal = Computation("new")
    renewal.go_on.clear()
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(cache.get_or_set, "a", renewal, ttl=60)
        assert renewal.begun.wait(10)
        assert cache.get_or_set("a", lambda: "never", ttl=60) == "old"
        renewal.go_on.set()
        assert first.result() == "new"
    assert cache.get("a") == "new"


def test_without_redis_values_are_computed(
    impatient: redis.Redis, proxy: Proxy, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says once that Redis went and once that it is back; an invalidation that was lost is told."""
    cache, compute = Cache(impatient, namespace, tenant=None), Computation()
    cache._availability.pause = 0
    cache.get_or_set("a", compute, ttl=60)
    proxy.cut()
    with caplog.at_level(logging.INFO, "app.cache"):
        assert [cache.get_or_set("a", compute, ttl=60) for _ in range(3)] == ["value"] * 3
        assert (cache.get("a"), cache.delete("a"), cache.invalidate("t")) == (None, False, False)
        proxy.mend()
        assert cache.get_or_set("a", compute, ttl=60) == "value"
    assert compute.runs == 4
    messages = [record.message for record in caplog.records]
    assert len(messages) == 2
    assert "goes on without Redis: ConnectionError" in messages[0]
    assert "uses Redis again" in messages[1]


def test_a_namespace_is_a_name(client: redis.Redis) -> None:
    """Braces would move keys between the slots of a cluster."""
    with pytest.raises(ValueError, match="namespace"):
        Cache(client, "a{b}", tenant=lambda: UUID(int=0))
