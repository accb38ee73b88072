"""Organizations: the owners of all other rows."""

from sqlalchemy import CheckConstraint, UniqueConstraint
from sqlalchemy.orm import Mapped

from app.models.base import Base, Timestamps, UuidKey


class Organization(UuidKey, Timestamps, Base):
    """A customer of the application; every other table names the organization that its rows belong to.

    `slug` is the short name used in addresses: lower-case words of letters and digits, joined by hyphens.
    """

    __tablename__ = "organizations"
    __table_args__ = (
        UniqueConstraint("slug"),
        CheckConstraint("slug ~ '^[a-z0-9]+(-[a-z0-9]+)*$'", name="slug_format"),
    )

    slug: Mapped[str]
    name: Mapped[str]
