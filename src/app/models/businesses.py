"""Businesses: what a user wants advice about."""

from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, Timestamps, UuidKey


class Business(UuidKey, Timestamps, Base):
    """A business of one user; `stage` begins as `idea`, and `context` holds whatever the assistant should know."""

    __tablename__ = "businesses"
    __table_args__ = (Index(None, "organization_id"), Index(None, "user_id"))

    organization_id: Mapped[UUID] = mapped_column(ForeignKey("organizations.id", ondelete="CASCADE"))
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    name: Mapped[str]
    industry: Mapped[str | None]
    stage: Mapped[str] = mapped_column(server_default=text("'idea'"))
    context: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
