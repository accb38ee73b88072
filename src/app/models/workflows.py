"""Workflows, and the events that they begin with and leave behind."""

from typing import Any
from uuid import UUID

from sqlalchemy import Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, CreatedAt, TenantMixin, TenantScoped, tenant_key


class Workflow(TenantMixin, Base):
    """Steps to take whenever an event of the kind `trigger` happens; a disabled one takes none."""

    __tablename__ = "workflows"
    __table_args__ = (UniqueConstraint("tenant_id", "name"), Index(None, "tenant_id", "trigger"))

    name: Mapped[str]
    trigger: Mapped[str]
    definition: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    enabled: Mapped[bool] = mapped_column(server_default=text("true"))


class Event(TenantScoped, CreatedAt, Base):
    """Something that happened, of a `kind` such as `form.submitted`; in a workflow's run it names the workflow."""

    __tablename__ = "events"
    __table_args__ = (
        tenant_key("workflow_id", "workflows"),
        Index(None, "workflow_id"),
        Index(None, "tenant_id", "created_at"),
    )

    workflow_id: Mapped[UUID | None]
    kind: Mapped[str]
    payload: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
