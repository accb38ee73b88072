"""Audit events: who did what to which row, for good."""

from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import CURRENT_TENANT, Base, CreatedAt, UuidKey


class AuditEvent(UuidKey, CreatedAt, Base):
    """One change, written in its transaction and never altered: no policy lets anybody update or delete it.

    It names its tenant without a foreign key, for the trail outlives the organization; the system's own events have no
    tenant, and no tenant sees them. `changes` maps a column to its old and new value; it must hold no secrets.
    """

    __tablename__ = "audit_events"
    __table_args__ = (
        CheckConstraint("action ~ '^[a-z]+([._][a-z]+)*$'", name="action_format"),
        Index(None, "tenant_id", "created_at"),
        Index(None, "tenant_id", "subject_id"),
        {"info": {"append_only": True}},
    )

    tenant_id: Mapped[UUID | None] = mapped_column(server_default=text(CURRENT_TENANT), sort_order=-90)
    actor_id: Mapped[UUID | None]
    action: Mapped[str]
    subject_table: Mapped[str | None]
    subject_id: Mapped[UUID | None]
    changes: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    reason: Mapped[str | None]
