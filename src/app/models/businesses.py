"""Businesses: what a user wants advice about."""

from typing import Any
from uuid import UUID

from sqlalchemy import Index, text
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, TenantMixin, tenant_key


class Business(TenantMixin, Base):
    """A business of one user; `stage` begins as `idea`, and `context` holds whatever the assistant should know."""

    __tablename__ = "businesses"
    __table_args__ = (tenant_key("user_id", "users"), Index(None, "user_id"))

    user_id: Mapped[UUID]
    name: Mapped[str]
    industry: Mapped[str | None]
    stage: Mapped[str] = mapped_column(server_default=text("'idea'"))
    context: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
