"""Messages: what was said in a conversation, searchable by meaning."""

from typing import Any
from uuid import UUID

from pgvector.sqlalchemy import VECTOR
from sqlalchemy import CheckConstraint, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import EMBEDDING_DIMENSIONS, Base, CreatedAt, TenantScoped, tenant_key


class Message(TenantScoped, CreatedAt, Base):
    """One utterance in a conversation; it is never edited, so it has no `updated_at`.

    `embedding` is null until it is computed. Nearest neighbours are found by cosine distance (`<=>`).
    """

    __tablename__ = "messages"
    __table_args__ = (
        CheckConstraint("role IN ('user', 'assistant', 'system')", name="role"),
        tenant_key("conversation_id", "conversations"),
        Index(None, "conversation_id"),
        Index(None, "created_at"),
        # Leads with the tenant: its newest messages.
        Index(None, "tenant_id", "created_at"),
        Index(None, "embedding", postgresql_using="hnsw", postgresql_ops={"embedding": "vector_cosine_ops"}),
    )

    conversation_id: Mapped[UUID]
    role: Mapped[str]
    content: Mapped[str]
    # `metadata` is SQLAlchemy's own name on a model class.
    meta: Mapped[dict[str, Any]] = mapped_column("metadata", server_default=text("'{}'"))
    embedding: Mapped[list[float] | None] = mapped_column(VECTOR(EMBEDDING_DIMENSIONS))
