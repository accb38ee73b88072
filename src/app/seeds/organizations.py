"""Sample organizations: three to remember, then as many as a size asks for."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from uuid import UUID

from app.seeds.plan import CLOCK, SeedTable, identity, organization_count
from app.seeds.words import ADJECTIVES, PLACES

NAMED = ("Acme", "Globex", "Initech")
FOUNDED = CLOCK - timedelta(days=180)

OrganizationRow = tuple[UUID, str, str, datetime, datetime]


def name(number: int) -> str:
    """An organization's name; its slug is the same in lower case with hyphens."""
    if number < len(NAMED):
        return NAMED[number]
    return f"{ADJECTIVES[number % len(ADJECTIVES)]} {PLACES[number % len(PLACES)]} {number}"


def slug(number: int) -> str:
    """An organization's slug, and the domain of its users' addresses under `.example`."""
    return name(number).lower().replace(" ", "-")


def rows(size: str) -> Iterator[OrganizationRow]:
    """The organizations of a size, in the order of `TABLE.columns`."""
    for number in range(organization_count(size)):
        at = FOUNDED + timedelta(minutes=number)
        yield identity("organizations", number), slug(number), name(number), at, at


TABLE = SeedTable(
    name="organizations",
    columns={"id": "uuid", "slug": "text", "name": "text", "created_at": "timestamptz", "updated_at": "timestamptz"},
    rows=rows,
    count=organization_count,
    kept=frozenset({"updated_at"}),
)
