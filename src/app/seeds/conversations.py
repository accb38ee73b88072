"""Sample conversations: five for every business, each about one topic."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg import Cursor

from app.seeds.plan import (
    BUSINESSES_PER_USER,
    CLOCK,
    CONVERSATIONS_PER_BUSINESS,
    USERS_PER_ORGANIZATION,
    SeedTable,
    conversation_count,
    generator,
    identity,
    message_count,
)
from app.seeds.words import SETTINGS, TOPICS, Topic, pick

PACE = timedelta(seconds=40)
"""The time between two messages of a conversation."""
SLOT = timedelta(minutes=5)
SLOTS = 100_003
"""Slots of one year over which conversations begin; a prime, so that the step below visits each of them once."""
STEP = 7919

ConversationRow = tuple[UUID, UUID, UUID, str, int, datetime, datetime]

RECOUNT = """
    UPDATE conversations SET message_count = counted.messages
    FROM (
        SELECT conversations.id, count(messages.id) AS messages
        FROM conversations LEFT JOIN messages ON messages.conversation_id = conversations.id
        WHERE conversations.id = ANY(%s)
        GROUP BY conversations.id
    ) AS counted
    WHERE conversations.id = counted.id AND conversations.message_count <> counted.messages
"""


def business_of(number: int) -> int:
    """The number of the business that a conversation is about."""
    return number // CONVERSATIONS_PER_BUSINESS


def organization_of(number: int) -> int:
    """The number of the organization that owns a conversation."""
    return business_of(number) // (BUSINESSES_PER_USER * USERS_PER_ORGANIZATION)


def topic_of(number: int) -> Topic:
    """What a conversation is about."""
    return TOPICS[(5 * number + number // len(TOPICS)) % len(TOPICS)]


def begins(number: int) -> datetime:
    """When a conversation's first message was written."""
    return CLOCK + SLOT * (number * STEP % SLOTS)


def rows(size: str) -> Iterator[ConversationRow]:
    """The conversations of a size, in the order of `TABLE.columns`."""
    rng = generator("conversations")
    for number in range(conversation_count(size)):
        topic, messages, at = topic_of(number), message_count(number), begins(number)
        yield (
            identity("conversations", number),
            identity("organizations", organization_of(number)),
            identity("businesses", business_of(number)),
            f"{pick(rng, topic.subjects).capitalize()} {pick(rng, SETTINGS)}",
            messages,
            at,
            at + PACE * (messages - 1),
        )


def recount(cursor: Cursor[Any], size: str) -> int:
    """Make `message_count` of the seeded conversations true, a user's own messages included; rows written."""
    ids = [identity("conversations", number) for number in range(conversation_count(size))]
    return cursor.execute(RECOUNT, [ids]).rowcount


TABLE = SeedTable(
    name="conversations",
    columns={
        "id": "uuid",
        "tenant_id": "uuid",
        "business_id": "uuid",
        "title": "text",
        "message_count": "int8",
        "created_at": "timestamptz",
        "updated_at": "timestamptz",
    },
    rows=rows,
    count=conversation_count,
    kept=frozenset({"message_count", "updated_at"}),
)
