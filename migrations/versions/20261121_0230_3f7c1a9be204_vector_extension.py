"""The vector extension.

Revision 3f7c1a9be204, after nothing; created 2026-11-21 02:30:00+00:00.
"""

from alembic import op

revision: str = "3f7c1a9be204"
down_revision: str | tuple[str, ...] | None = None
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    # Only a superuser may make it, so one may have made it before the owner of the schema gets here.
    op.execute("CREATE EXTENSION IF NOT EXISTS vector")


def downgrade() -> None:
    """Leave the extension: it may be older than this schema, and its owner is a superuser, not us."""
