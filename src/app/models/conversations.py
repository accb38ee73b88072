"""Conversations: one talk with the assistant about one business."""

from uuid import UUID

from sqlalchemy import CheckConstraint, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, TenantMixin, tenant_key


class Conversation(TenantMixin, Base):
    """A talk about a business; whoever adds or removes a message changes `message_count` in the same transaction."""

    __tablename__ = "conversations"
    __table_args__ = (
        CheckConstraint("message_count >= 0", name="message_count_not_negative"),
        tenant_key("business_id", "businesses"),
        Index(None, "business_id"),
    )

    business_id: Mapped[UUID]
    title: Mapped[str]
    message_count: Mapped[int] = mapped_column(server_default=text("0"))
