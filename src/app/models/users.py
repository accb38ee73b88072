"""Users: the people who log in."""

from datetime import datetime

from sqlalchemy import CheckConstraint, Computed, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, TenantMixin


class User(TenantMixin, Base):
    """A member of one organization, who logs in with a password, through an identity provider, or either way.

    `email` and `external_id` are unique over all organizations: one address, one account. Whoever may add a user can
    therefore find out that an address is taken, though not by whom. `email` is compared without regard to case and
    keeps the case it was written in; the server writes `email_key`, by which a user is found. `external_id` is the
    provider's name for the person (`user_2ab…` with Clerk). `password_hash` is a PHC string (`$scrypt$ln=…`), never
    a password.
    """

    __tablename__ = "users"
    __table_args__ = (
        CheckConstraint(r"email ~ '^[^@\s]+@[^@\s]+\.[^@\s]+$' AND length(email) <= 254", name="email_format"),
        CheckConstraint("role IN ('admin', 'user')", name="role"),
        CheckConstraint("num_nonnulls(external_id, password_hash) > 0", name="can_log_in"),
        Index("uq_users_email_key", "email_key", unique=True),
        UniqueConstraint("external_id"),
    )

    email: Mapped[str]
    email_key: Mapped[str] = mapped_column(Computed("lower(email)", persisted=True))
    external_id: Mapped[str | None]
    password_hash: Mapped[str | None] = mapped_column(info={"secret": True})
    name: Mapped[str]
    role: Mapped[str] = mapped_column(server_default=text("'user'"))
    last_login_at: Mapped[datetime | None]
