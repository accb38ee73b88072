"""What is seeded and how much: sizes, ids, the clock, and the shape of a table's seed rows."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import Any, Final
from uuid import UUID, uuid5

SIZES: Final[Mapping[str, int]] = {"small": 3, "medium": 250, "large": 2500}
"""Organizations per size; each brings 4 users, 8 businesses, 40 conversations and about 400 messages."""
USERS_PER_ORGANIZATION: Final = 4
BUSINESSES_PER_USER: Final = 2
CONVERSATIONS_PER_BUSINESS: Final = 5

CLOCK: Final = datetime(2025, 1, 1, 9, tzinfo=UTC)
"""The seeds' own time, when the first conversations begin; seeds never ask what time it is."""
NAMESPACE: Final = UUID("6f1d3c52-9a7e-5b04-8d21-c4e0a93b7f65")


@dataclass(frozen=True, slots=True)
class SeedTable:
    """One table's seed rows.

    Args:
        name: the table.
        columns: each column with the Postgres type its values are sent as in a binary COPY, in the order of a row.
            `bytea` sends bytes as they are: a value that is already in its type's binary form.
        rows: the rows of a size; the rows of a smaller size are their beginning.
        count: how many rows that is.
        kept: columns that a further run leaves as they are.
    """

    name: str
    columns: Mapping[str, str]
    rows: Callable[[str], Iterator[tuple[Any, ...]]]
    count: Callable[[str], int]
    kept: frozenset[str] = frozenset()


def organization_count(size: str) -> int:
    """The number of organizations in a size.

    Raises:
        ValueError: there is no such size; the message names those there are.
    """
    if size not in SIZES:
        raise ValueError(f"There is no seed size {size!r}; choose one of {', '.join(SIZES)}.")
    return SIZES[size]


def user_count(size: str) -> int:
    """The number of users in a size."""
    return organization_count(size) * USERS_PER_ORGANIZATION


def business_count(size: str) -> int:
    """The number of businesses in a size."""
    return user_count(size) * BUSINESSES_PER_USER


def conversation_count(size: str) -> int:
    """The number of conversations in a size."""
    return business_count(size) * CONVERSATIONS_PER_BUSINESS


def message_count(conversation: int) -> int:
    """How many messages a conversation has: 6 to 14, and 10 on average."""
    return 6 + 5 * conversation % 9


def identity(table: str, number: int) -> UUID:
    """The id of a table's row; the same on every machine, for ever."""
    return uuid5(NAMESPACE, f"{table}:{number}")


def generator(table: str) -> Random:
    """A table's own random numbers; draw with `random` and `getrandbits`, which no Python release changes."""
    return Random(f"seed rows of {table}")  # noqa: S311 (sample data, no secrets)
