"""Sample knowledge bases: a handbook for every organization, a chunk of it for every topic of advice."""

from collections.abc import Iterator
from datetime import datetime
from uuid import UUID

from app.db.binary_copy import jsonb
from app.seeds.embeddings import BLOCKS, blocks, embedding
from app.seeds.plan import CLOCK, SeedTable, generator, identity, organization_count
from app.seeds.words import TOPICS

BaseRow = tuple[UUID, UUID, str, str, datetime, datetime]
ChunkRow = tuple[UUID, UUID, UUID, str, int, str, bytes, bytes, datetime, datetime]


def bases(size: str) -> Iterator[BaseRow]:
    """The knowledge bases of a size, in the order of `BASES.columns`."""
    for number in range(organization_count(size)):
        organization = identity("organizations", number)
        yield identity("knowledge_bases", number), organization, "Handbook", "What everybody asks", CLOCK, CLOCK


def chunks(size: str) -> Iterator[ChunkRow]:
    """The chunks of a size, in the order of `CHUNKS.columns`; the embedding is near its topic's centre."""
    draw = generator("knowledge_chunks").getrandbits
    for number in range(chunk_count(size)):
        organization, position = divmod(number, len(TOPICS))
        topic = TOPICS[position]
        yield (
            identity("knowledge_chunks", number),
            identity("organizations", organization),
            identity("knowledge_bases", organization),
            "handbook.md",
            position,
            f"On {topic.name}: {'; '.join(topic.advice)}.",
            jsonb({"topic": topic.name}),
            embedding(blocks(topic.name), f"{draw(4 * BLOCKS):0{BLOCKS}x}"),
            CLOCK,
            CLOCK,
        )


def chunk_count(size: str) -> int:
    """The number of chunks in a size."""
    return organization_count(size) * len(TOPICS)


BASES = SeedTable(
    name="knowledge_bases",
    columns={
        "id": "uuid",
        "tenant_id": "uuid",
        "name": "text",
        "description": "text",
        "created_at": "timestamptz",
        "updated_at": "timestamptz",
    },
    rows=bases,
    count=organization_count,
    kept=frozenset({"updated_at"}),
)
CHUNKS = SeedTable(
    name="knowledge_chunks",
    columns={
        "id": "uuid",
        "tenant_id": "uuid",
        "knowledge_base_id": "uuid",
        "source": "text",
        "position": "int8",
        "content": "text",
        "metadata": "bytea",
        "embedding": "bytea",
        "created_at": "timestamptz",
        "updated_at": "timestamptz",
    },
    rows=chunks,
    count=chunk_count,
    kept=frozenset({"updated_at"}),
)
