"""Brand kits: how a tenant's publications look and sound."""

from typing import Any

from sqlalchemy import UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, TenantMixin


class BrandKit(TenantMixin, Base):
    """One look: `palette` maps a purpose to a colour (`{"primary": "#0b5fff"}`), `voice` is how texts sound."""

    __tablename__ = "brand_kits"
    __table_args__ = (UniqueConstraint("tenant_id", "name"),)

    name: Mapped[str]
    palette: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    voice: Mapped[str | None]
    logo_url: Mapped[str | None]
