"""One test's Redis: a database of its own on the throwaway server, and a user who cannot leave it by accident."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from drydock import redis_client
from drydock.checkout import HOST

if TYPE_CHECKING:
    from drydock.environment import Environment

COUNT = 4095  # databases but the first, which counts them (configuration.THROWAWAY)
COUNTER = "drydock:namespaces"
# Everything but what reaches beyond one's own database. Allowing one argument of a forbidden command is how Redis'
# own manual (ACL, "Allow/disallow a specific first-arg") confines a user to a database.
# Client libraries introduce themselves with CLIENT, which is an administrator's command otherwise.
INTRODUCTION = ("+client|setname", "+client|setinfo", "+client|getname", "+client|id")
RIGHTS = ("~*", "&*", "+@all", "-@admin", *INTRODUCTION, "-flushall", "-swapdb", "-move", "-select")


@dataclass(frozen=True)
class Namespace:
    """A Redis database of one test's own; emptied after the test, and whoever is still connected to it is sent away.

    Channels of PUBLISH and SUBSCRIBE are the whole server's: Redis does not divide them by database.

    Attributes:
        url: for any client, with the password.
        number: of the database.
        user: who may use that database only.
    """

    url: str = field(repr=False)
    number: int
    user: str


def open_namespace(environment: Environment) -> Namespace:
    """An empty database that no other test has."""
    with redis_client.connect(environment) as redis:
        number = int(redis.ask("INCR", COUNTER)) % COUNT + 1
        user, password = f"test{number}", secrets.token_hex(16)
        redis.ask("SELECT", str(number))
        redis.ask("FLUSHDB")
        redis.ask("ACL", "SETUSER", user, "reset", "on", f">{password}", *RIGHTS, f"+select|{number}")
    url = f"redis://{user}:{password}@{HOST}:{environment.state.redis_port}/{number}"
    return Namespace(url, number, user)


def close_namespace(environment: Environment, namespace: Namespace) -> None:
    """Empty it, and end the connections to it."""
    with redis_client.connect(environment) as redis:
        redis.ask("ACL", "DELUSER", namespace.user)
        redis.ask("SELECT", str(namespace.number))
        redis.ask("FLUSHDB")
