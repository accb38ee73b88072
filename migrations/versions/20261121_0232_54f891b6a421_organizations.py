"""Organizations: the owners of all other rows.

Revision 54f891b6a421, after c2c254f62ade; created 2026-11-21 02:32:00+00:00.
"""

import sqlalchemy as sa
from alembic import op

revision: str = "54f891b6a421"
down_revision: str | tuple[str, ...] | None = "c2c254f62ade"
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    op.create_table(
        "organizations",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("slug", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("slug ~ '^[a-z0-9]+(-[a-z0-9]+)*$'", name=op.f("ck_organizations_slug_format")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_organizations")),
        sa.UniqueConstraint("slug", name=op.f("uq_organizations_slug")),
    )
    op.keep_updated_at("organizations")
    op.enable_tenant_isolation("organizations", column="id")


def downgrade() -> None:
    op.drop_table("organizations")
