"""Sample businesses: two for every user."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from random import Random
from uuid import UUID

from app.db.binary_copy import jsonb
from app.seeds.plan import (
    BUSINESSES_PER_USER,
    CLOCK,
    USERS_PER_ORGANIZATION,
    SeedTable,
    business_count,
    generator,
    identity,
)
from app.seeds.words import ADJECTIVES, COUNTRIES, INDUSTRIES, STAGES, TOPICS, TRADES, pick

REGISTERED = CLOCK - timedelta(days=60)

BusinessRow = tuple[UUID, UUID, UUID, str, str, str, bytes, datetime, datetime]


def context(rng: Random) -> bytes:
    """What the assistant should know of a business, as binary jsonb."""
    return jsonb(
        {
            "country": pick(rng, COUNTRIES),
            "employees": 1 + int(rng.random() * 40),
            "goals": sorted({pick(rng, TOPICS).name, pick(rng, TOPICS).name}),
        }
    )


def rows(size: str) -> Iterator[BusinessRow]:
    """The businesses of a size, in the order of `TABLE.columns`."""
    rng = generator("businesses")
    for number in range(business_count(size)):
        user = number // BUSINESSES_PER_USER
        at = REGISTERED + timedelta(minutes=number)
        yield (
            identity("businesses", number),
            identity("organizations", user // USERS_PER_ORGANIZATION),
            identity("users", user),
            f"{pick(rng, ADJECTIVES)} {pick(rng, TRADES)}",
            pick(rng, INDUSTRIES),
            pick(rng, STAGES),
            context(rng),
            at,
            at,
        )


TABLE = SeedTable(
    name="businesses",
    columns={
        "id": "uuid",
        "tenant_id": "uuid",
        "user_id": "uuid",
        "name": "text",
        "industry": "text",
        "stage": "text",
        "context": "bytea",
        "created_at": "timestamptz",
        "updated_at": "timestamptz",
    },
    rows=rows,
    count=business_count,
    kept=frozenset({"updated_at"}),
)
