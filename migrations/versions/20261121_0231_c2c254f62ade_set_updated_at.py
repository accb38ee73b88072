"""The trigger function that keeps `updated_at`.

Revision c2c254f62ade, after 3f7c1a9be204; created 2026-11-21 02:31:00+00:00.
"""

from alembic import op

revision: str = "c2c254f62ade"
down_revision: str | tuple[str, ...] | None = "3f7c1a9be204"
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    op.execute("""
        CREATE FUNCTION set_updated_at() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            NEW.updated_at := now();
            RETURN NEW;
        END
        $$
    """)


def downgrade() -> None:
    op.execute("DROP FUNCTION set_updated_at()")
