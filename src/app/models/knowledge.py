"""Knowledge bases: what a tenant knows, in chunks that are found by meaning."""

from typing import Any
from uuid import UUID

from pgvector.sqlalchemy import VECTOR
from sqlalchemy import CheckConstraint, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import EMBEDDING_DIMENSIONS, Base, TenantMixin, tenant_key


class KnowledgeBase(TenantMixin, Base):
    """A named collection of chunks."""

    __tablename__ = "knowledge_bases"
    __table_args__ = (UniqueConstraint("tenant_id", "name"),)

    name: Mapped[str]
    description: Mapped[str | None]


class KnowledgeChunk(TenantMixin, Base):
    """A passage, the `position`th of its source, which counts from 0.

    `embedding` is null until it is computed. Nearest neighbours are found by cosine distance (`<=>`).
    """

    __tablename__ = "knowledge_chunks"
    __table_args__ = (
        CheckConstraint("position >= 0", name="position_not_negative"),
        tenant_key("knowledge_base_id", "knowledge_bases"),
        UniqueConstraint("tenant_id", "knowledge_base_id", "source", "position"),
        Index(None, "embedding", postgresql_using="hnsw", postgresql_ops={"embedding": "vector_cosine_ops"}),
    )

    knowledge_base_id: Mapped[UUID]
    source: Mapped[str]
    position: Mapped[int]
    content: Mapped[str]
    # `metadata` is SQLAlchemy's own name on a model class.
    meta: Mapped[dict[str, Any]] = mapped_column("metadata", server_default=text("'{}'"))
    embedding: Mapped[list[float] | None] = mapped_column(VECTOR(EMBEDDING_DIMENSIONS))
