"""Sample messages: a system prompt, then questions and answers in turn, with an embedding each."""

from collections.abc import Iterator
from datetime import datetime
from functools import cache
from typing import Final
from uuid import UUID

from app.db.binary_copy import jsonb
from app.seeds.conversations import PACE, begins, organization_of, topic_of
from app.seeds.embeddings import BLOCKS, blocks, embedding
from app.seeds.plan import SeedTable, conversation_count, generator, identity, message_count
from app.seeds.words import ASKS, LEADS, REASONS, SETTINGS, SYSTEM_PROMPT, Topic

EMBEDDING_BYTES: Final = BLOCKS // 2
"""One hexadecimal digit selects a block's variant."""
DRAW_BYTES: Final = EMBEDDING_BYTES + 3

TURNS_PER_ID: Final = 16
"""A conversation's message ids count up from one uuid5: quicker to make, and neighbours in the primary key's index."""

MessageRow = tuple[UUID, UUID, UUID, str, str, bytes, bytes | None, datetime]


@cache
def metadata(topic: str) -> bytes:
    """A message's metadata, as binary jsonb."""
    return jsonb({"source": "seed", "topic": topic})


def question(topic: Topic, first: int, second: int, third: int) -> str:
    """A user's message."""
    return (
        f"{ASKS[first % len(ASKS)]} {topic.subjects[second % len(topic.subjects)]} {SETTINGS[third % len(SETTINGS)]}?"
    )


def answer(topic: Topic, first: int, second: int, third: int) -> str:
    """The assistant's message."""
    return f"{LEADS[first % len(LEADS)]} {topic.advice[second % len(topic.advice)]}; {REASONS[third % len(REASONS)]}."


def rows(size: str) -> Iterator[MessageRow]:
    """The messages of a size, in the order of `TABLE.columns`, conversation by conversation.

    The metadata and the embedding are bytes in the binary form of jsonb and vector; a system prompt has no embedding.
    """
    draw = generator("messages").getrandbits
    for conversation in range(conversation_count(size)):
        topic, at = topic_of(conversation), begins(conversation)
        variants, meta = blocks(topic.name), metadata(topic.name)
        owner, parent = (
            identity("organizations", organization_of(conversation)),
            identity("conversations", conversation),
        )
        first = identity("messages", conversation).int // TURNS_PER_ID * TURNS_PER_ID
        yield UUID(int=first), owner, parent, "system", SYSTEM_PROMPT, meta, None, at
        for turn in range(1, message_count(conversation)):
            bits = draw(8 * DRAW_BYTES).to_bytes(DRAW_BYTES, "big")
            vector = embedding(variants, bits[:EMBEDDING_BYTES].hex())
            role, text = ("user", question) if turn % 2 else ("assistant", answer)
            content = text(topic, *bits[EMBEDDING_BYTES:])
            yield UUID(int=first + turn), owner, parent, role, content, meta, vector, at + PACE * turn


def count(size: str) -> int:
    """The number of messages in a size."""
    return sum(map(message_count, range(conversation_count(size))))


TABLE = SeedTable(
    name="messages",
    columns={
        "id": "uuid",
        "tenant_id": "uuid",
        "conversation_id": "uuid",
        "role": "text",
        "content": "text",
        "metadata": "bytea",
        "embedding": "bytea",
        "created_at": "timestamptz",
    },
    rows=rows,
    count=count,
)
