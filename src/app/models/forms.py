"""Forms, and what people submitted with them."""

from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, TenantMixin, tenant_key


class Form(TenantMixin, Base):
    """A form to fill in: `fields` is a JSON Schema object, `slug` its name in the tenant's addresses."""

    __tablename__ = "forms"
    __table_args__ = (
        CheckConstraint("slug ~ '^[a-z0-9]+(-[a-z0-9]+)*$'", name="slug_format"),
        CheckConstraint("status IN ('draft', 'published', 'closed')", name="status"),
        UniqueConstraint("tenant_id", "slug"),
    )

    slug: Mapped[str]
    title: Mapped[str]
    status: Mapped[str] = mapped_column(server_default=text("'draft'"))
    fields: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))


class Submission(TenantMixin, Base):
    """What somebody filled in, as the form's fields were at that time."""

    __tablename__ = "submissions"
    __table_args__ = (tenant_key("form_id", "forms"), Index(None, "form_id", "created_at"))

    form_id: Mapped[UUID]
    answers: Mapped[dict[str, Any]]
