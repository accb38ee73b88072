"""Messages: what was said in a conversation, searchable by meaning."""

from typing import Any
from uuid import UUID

from pgvector.sqlalchemy import VECTOR
from sqlalchemy import CheckConstraint, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, CreatedAt, UuidKey

EMBEDDING_DIMENSIONS = 384


class Message(UuidKey, CreatedAt, Base):
    """One utterance in a conversation; it is never edited, so it has no `updated_at`.

    `embedding` is null until it is computed. Nearest neighbours are found by cosine distance (`<=>`).
    """

    __tablename__ = "messages"
    __table_args__ = (
        CheckConstraint("role IN ('user', 'assistant', 'system')", name="role"),
        Index(None, "conversation_id"),
        Index(None, "created_at"),
        # Leads with the owner: one index for an organization's newest messages and for its deletion.
        Index(None, "organization_id", "created_at"),
        Index(None, "embedding", postgresql_using="hnsw", postgresql_ops={"embedding": "vector_cosine_ops"}),
    )

    organization_id: Mapped[UUID] = mapped_column(ForeignKey("organizations.id", ondelete="CASCADE"))
    conversation_id: Mapped[UUID] = mapped_column(ForeignKey("conversations.id", ondelete="CASCADE"))
    role: Mapped[str]
    content: Mapped[str]
    # `metadata` is SQLAlchemy's own name on a model class.
    meta: Mapped[dict[str, Any]] = mapped_column("metadata", server_default=text("'{}'"))
    embedding: Mapped[list[float] | None] = mapped_column(VECTOR(EMBEDDING_DIMENSIONS))
