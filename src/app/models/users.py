"""Users: the people who log in."""

from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, func
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, Timestamps, UuidKey


class User(UuidKey, Timestamps, Base):
    """A member of one organization.

    `email` is unique over all organizations without regard to case, and keeps the case it was written in.
    `password_hash` is a PHC string (`$scrypt$ln=…`), never a password.
    """

    __tablename__ = "users"
    __table_args__ = (
        CheckConstraint(r"email ~ '^[^@\s]+@[^@\s]+\.[^@\s]+$' AND length(email) <= 254", name="email_format"),
        Index("uq_users_email_lower", func.lower("email"), unique=True),
        Index(None, "organization_id"),
    )

    organization_id: Mapped[UUID] = mapped_column(ForeignKey("organizations.id", ondelete="CASCADE"))
    email: Mapped[str]
    password_hash: Mapped[str]
    name: Mapped[str]
