"""Audit events: who did what to which row, for good.

Revision 6a0fd5c3187e, after d93a2f61b7e8; created 2026-11-21 02:41:00+00:00.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "6a0fd5c3187e"
down_revision: str | tuple[str, ...] | None = "d93a2f61b7e8"
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    op.create_tenant_table(
        "audit_events",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column(
            "tenant_id",
            sa.Uuid(),
            server_default=sa.text("(NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::uuid"),
            nullable=True,
        ),
        sa.Column("actor_id", sa.Uuid(), nullable=True),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("subject_table", sa.Text(), nullable=True),
        sa.Column("subject_id", sa.Uuid(), nullable=True),
        sa.Column("changes", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("action ~ '^[a-z]+([._][a-z]+)*$'", name=op.f("ck_audit_events_action_format")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_events")),
        append_only=True,
    )
    op.create_index(op.f("ix_audit_events_tenant_id_created_at"), "audit_events", ["tenant_id", "created_at"])
    op.create_index(op.f("ix_audit_events_tenant_id_subject_id"), "audit_events", ["tenant_id", "subject_id"])


def downgrade() -> None:
    op.drop_table("audit_events")
