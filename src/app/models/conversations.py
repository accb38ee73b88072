"""Conversations: one talk with the assistant about one business."""

from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, Timestamps, UuidKey


class Conversation(UuidKey, Timestamps, Base):
    """A talk about a business; whoever adds or removes a message changes `message_count` in the same transaction."""

    __tablename__ = "conversations"
    __table_args__ = (
        CheckConstraint("message_count >= 0", name="message_count_not_negative"),
        Index(None, "organization_id"),
        Index(None, "business_id"),
    )

    organization_id: Mapped[UUID] = mapped_column(ForeignKey("organizations.id", ondelete="CASCADE"))
    business_id: Mapped[UUID] = mapped_column(ForeignKey("businesses.id", ondelete="CASCADE"))
    title: Mapped[str]
    message_count: Mapped[int] = mapped_column(server_default=text("0"))
