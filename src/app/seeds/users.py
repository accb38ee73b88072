"""Test users: every one of them logs in with `DEV_PASSWORD`."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from uuid import UUID

from app.seeds.organizations import slug
from app.seeds.plan import CLOCK, USERS_PER_ORGANIZATION, SeedTable, generator, identity, user_count
from app.seeds.words import FIRST_NAMES, LAST_NAMES, pick

DEV_PASSWORD = "correct-horse-battery"  # noqa: S105 (published on purpose, for sample users only)
PASSWORD_HASH = "$scrypt$ln=14,r=8,p=1$c2FtcGxlLXVzZXItc2FsdA$Lbr2NWQxMvQl8kgw6rRn6/sAhpDhVjJvLzHYccRSGuQ"  # noqa: S105
"""scrypt of `DEV_PASSWORD` with n=2^14, r=8, p=1 and the salt `sample-user-salt`, as a PHC string."""
JOINED = CLOCK - timedelta(days=90)

UserRow = tuple[UUID, UUID, str, str, str, str, str, datetime | None, datetime, datetime]


def rows(size: str) -> Iterator[UserRow]:
    """The users of a size, in the order of `TABLE.columns`; the first is `ada@acme.example`.

    The first of each organization is its admin, and the last has never logged in.
    """
    rng = generator("users")
    for number in range(user_count(size)):
        organization, place = divmod(number, USERS_PER_ORGANIZATION)
        first = FIRST_NAMES[number % len(FIRST_NAMES)]
        at = JOINED + timedelta(minutes=number)
        yield (
            identity("users", number),
            identity("organizations", organization),
            f"{first.lower()}@{slug(organization)}.example",
            f"seed_{number}",
            PASSWORD_HASH,
            f"{first} {pick(rng, LAST_NAMES)}",
            "user" if place else "admin",
            None if place == USERS_PER_ORGANIZATION - 1 else at + timedelta(days=1),
            at,
            at,
        )


TABLE = SeedTable(
    name="users",
    columns={
        "id": "uuid",
        "tenant_id": "uuid",
        "email": "text",
        "external_id": "text",
        "password_hash": "text",
        "name": "text",
        "role": "text",
        "last_login_at": "timestamptz",
        "created_at": "timestamptz",
        "updated_at": "timestamptz",
    },
    rows=rows,
    count=user_count,
    kept=frozenset({"updated_at"}),
)
