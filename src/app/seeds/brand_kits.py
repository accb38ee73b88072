"""Sample brand kits: one for every organization."""

from collections.abc import Iterator
from datetime import datetime
from uuid import UUID

from app.db.binary_copy import jsonb
from app.seeds.plan import CLOCK, SeedTable, generator, identity, organization_count
from app.seeds.words import ADJECTIVES, pick

COLOURS = ("#0b5fff", "#0f766e", "#9333ea", "#b45309", "#be123c", "#334155")

BrandKitRow = tuple[UUID, UUID, str, bytes, str, None, datetime, datetime]


def rows(size: str) -> Iterator[BrandKitRow]:
    """The brand kits of a size, in the order of `TABLE.columns`."""
    rng = generator("brand_kits")
    for number in range(organization_count(size)):
        palette = jsonb({"primary": pick(rng, COLOURS), "text": "#111827"})
        voice = f"Plain and {pick(rng, ADJECTIVES).lower()}"
        organization = identity("organizations", number)
        yield identity("brand_kits", number), organization, "House style", palette, voice, None, CLOCK, CLOCK


TABLE = SeedTable(
    name="brand_kits",
    columns={
        "id": "uuid",
        "tenant_id": "uuid",
        "name": "text",
        "palette": "bytea",
        "voice": "text",
        "logo_url": "text",
        "created_at": "timestamptz",
        "updated_at": "timestamptz",
    },
    rows=rows,
    count=organization_count,
    kept=frozenset({"updated_at"}),
)
