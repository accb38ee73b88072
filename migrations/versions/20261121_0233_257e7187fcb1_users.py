"""Users: the people who log in.

Revision 257e7187fcb1, after 54f891b6a421; created 2026-11-21 02:33:00+00:00.
"""

import sqlalchemy as sa
from alembic import op

revision: str = "257e7187fcb1"
down_revision: str | tuple[str, ...] | None = "54f891b6a421"
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    op.create_table(
        "users",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            r"email ~ '^[^@\s]+@[^@\s]+\.[^@\s]+$' AND length(email) <= 254", name=op.f("ck_users_email_format")
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organizations.id"],
            name=op.f("fk_users_organization_id_organizations"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
    )
    op.create_index("uq_users_email_lower", "users", [sa.text("lower(email)")], unique=True)
    op.create_index(op.f("ix_users_organization_id"), "users", ["organization_id"])
    op.execute("""
        CREATE TRIGGER set_updated_at BEFORE UPDATE ON users
        FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION set_updated_at()
    """)


def downgrade() -> None:
    op.drop_table("users")
