"""What the cache keeps in Redis, and the scripts that change it: all that the two caches have in common.

An entry is a hash (value, tags, cost) that expires. A tag is a key with a random token; an entry remembers the tokens
of its tags and is void as soon as one differs, so that forgetting a tag's entries is the deletion of one key. Tokens
are read when a computation begins: what was invalidated meanwhile is stored with an old token and never served.

A miss takes a lease (a lock with a token that expires). Only the holder computes and only the holder's value is
stored; a deletion takes the lease too. All keys of one tenant share a hash tag, so that scripts work in a cluster.
"""

from __future__ import annotations

import json
import math
import random
import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from app.cache.errors import CacheTenantError, CacheValueError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from uuid import UUID

READ: Final = """
local entry = redis.call('HMGET', KEYS[1], 'value', 'tags', 'cost')
if not entry[1] then return false end
if entry[2] then
  for tag, token in pairs(cjson.decode(entry[2])) do
    if redis.call('GET', tag) ~= token then
      redis.call('DEL', KEYS[1])
      return false
    end
  end
end
return {entry[1], entry[3], redis.call('PTTL', KEYS[1])}
"""
"""KEYS: entry. Returns value, cost in seconds, milliseconds to live; or nil."""

LEASE: Final = """
if ARGV[4] == 'absent' and redis.call('EXISTS', KEYS[1]) == 1 then return false end
if not redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) and redis.call('GET', KEYS[2]) ~= ARGV[1] then
  return false
end
local tokens = {}
for n = 3, #KEYS do
  redis.call('SET', KEYS[n], ARGV[1], 'NX')
  tokens[n - 2] = redis.call('GET', KEYS[n])
  if redis.call('PTTL', KEYS[n]) < tonumber(ARGV[3]) then redis.call('PEXPIRE', KEYS[n], ARGV[3]) end
end
return tokens
"""
"""KEYS: entry, lease, tags. ARGV: token, milliseconds of the lease, of a tag, and whether the entry must be absent.

Returns the tags' tokens; nil where the lease is taken, or the entry was stored since the caller missed it.
"""

STORE: Final = """
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1], KEYS[2])
redis.call('HSET', KEYS[1], 'value', ARGV[2], 'cost', ARGV[3])
if ARGV[4] ~= '{}' then redis.call('HSET', KEYS[1], 'tags', ARGV[4]) end
redis.call('PEXPIRE', KEYS[1], ARGV[5])
return 1
"""
"""KEYS: entry, lease. ARGV: token, value, cost, tags with tokens, milliseconds. Returns 1 where it was stored."""

RELEASE: Final = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"
"""KEYS: lease. ARGV: token."""

JITTER: Final = 0.1
LEASE_SECONDS: Final = 30.0
"""What takes longer to compute is returned, and not stored."""
WAIT_SECONDS: Final = 5.0
FIRST_PAUSE: Final = 0.01
LAST_PAUSE: Final = 0.2
_NAMESPACE: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")


@dataclass(frozen=True)
class Found:
    """An entry that was read.

    Attributes:
        value: as JSON gives it back.
        cost: seconds its computation took.
        remaining: seconds until it expires.
    """

    value: Any
    cost: float
    remaining: float

    def due(self, draw: float) -> bool:
        """Whether to compute anew before it expires: the likelier the nearer the end, and the dearer the value.

        XFetch with beta 1 (Vattani, Chierichetti, Lowenstein: Optimal Probabilistic Cache Stampede Prevention, VLDB
        2015); `draw` is uniform in (0, 1].
        """
        return -self.cost * math.log(draw) >= self.remaining


@dataclass(frozen=True)
class Lease:
    """The right to compute and store one entry.

    Attributes:
        token: known to the holder alone.
        tags: the keys of the entry's tags with their tokens of now.
    """

    token: str
    tags: dict[str, str]


class Keys:
    """Names keys by namespace and tenant.

    Args:
        namespace: what is cached here, such as `prices`.
        tenant: tells whose the values are; None for values that all tenants share.
    """

    def __init__(self, namespace: str, tenant: Callable[[], UUID | None] | None) -> None:
        if not _NAMESPACE.fullmatch(namespace):
            raise ValueError(f"A namespace is 1 to 64 of a-z, 0-9, _, . and -, not {namespace!r}.")
        self.namespace = namespace
        self._tenant = tenant

    def entry(self, key: str) -> str:
        """The entry of a key."""
        return f"{self._prefix()}:entry:{key}"

    def lease(self, key: str) -> str:
        """The lease on an entry."""
        return f"{self._prefix()}:lease:{key}"

    def tags(self, tags: Sequence[str]) -> list[str]:
        """The token of each tag."""
        return [f"{self._prefix()}:tag:{tag}" for tag in tags]

    def _prefix(self) -> str:
        owner = "shared" if self._tenant is None else self._tenant()
        if owner is None:
            raise CacheTenantError(
                f"The cache {self.namespace!r} keeps values per tenant and none is set: wrap the work in "
                "tenant_context(organization_id), or make a cache with tenant=None for values that all may see."
            )
        return f"{{{self.namespace}:{owner}}}"


@dataclass(frozen=True)
class Call:
    """A script's keys and arguments."""

    keys: list[str]
    arguments: Sequence[str | int | float]


def encode(value: Any) -> str:
    """A value as JSON.

    Raises:
        CacheValueError: where it is none, or holds a number that JSON does not know.
    """
    try:
        return json.dumps(value, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise CacheValueError(f"A cached value must be JSON: {error}.") from error


def decode(text: str) -> Any:
    """The value of an entry."""
    return json.loads(text)


def found(reply: list[Any] | None) -> Found | None:
    """What READ returned."""
    if reply is None:
        return None
    value, cost, remaining = reply
    return Found(decode(value), float(cost), int(remaining) / 1000)


def lease_call(keys: Keys, key: str, tags: Sequence[str], ttl: float, *, absent: bool) -> Call:
    """How to call LEASE for an entry that is absent, or for one to renew; a tag outlives what carries it."""
    times = [_milliseconds(LEASE_SECONDS), _milliseconds(LEASE_SECONDS + ttl * (1 + JITTER))]
    arguments = [secrets.token_hex(16), *times, "absent" if absent else ""]
    return Call([keys.entry(key), keys.lease(key), *keys.tags(tags)], arguments)


def granted(call: Call, reply: list[str] | None) -> Lease | None:
    """What LEASE returned."""
    if reply is None:
        return None
    return Lease(str(call.arguments[0]), dict(zip(call.keys[2:], reply, strict=True)))


def store_call(keys: Keys, key: str, lease: Lease, entry: tuple[str, float], ttl: float) -> Call:
    """How to call STORE with a value and its cost.

    The time to live is up to a tenth off: entries that were made together do not expire together.
    """
    value, cost = entry
    spread = random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - spread, not secrecy
    arguments: list[str | int | float] = [lease.token, value, cost, encode(lease.tags), _milliseconds(ttl * spread)]
    return Call([keys.entry(key), keys.lease(key)], arguments)


def names(keys: Keys, wanted: Sequence[str]) -> list[str]:
    """All that belongs to these keys, for their deletion: with the leases, what is being computed is not stored."""
    return [name for key in wanted for name in (keys.entry(key), keys.lease(key))]


def draw() -> float:
    """Uniform in (0, 1]."""
    return 1 - random.random()  # noqa: S311 - spread, not secrecy


def _milliseconds(seconds: float) -> int:
    """For Redis, which refuses 0."""
    return max(1, round(seconds * 1000))
