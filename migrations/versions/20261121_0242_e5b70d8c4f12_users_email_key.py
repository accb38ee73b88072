"""Users: the address in lower case as a column of its own, by which users are found.

Revision e5b70d8c4f12, after 6a0fd5c3187e; created 2026-11-21 02:42:00+00:00.

Under row-level security an index on lower(email) serves nobody: lower() is not leakproof, so the policy is asked first,
of every row. Two texts are compared by a function that is (PostgreSQL manual, Rules and Privileges).

The trigger that keeps `updated_at` compares whole rows in its WHEN, and Postgres creates no such trigger where a column
is generated (PostgreSQL manual, CREATE TRIGGER): no dump of the table could be restored. It gets a function that
compares all other columns.

Three of squawk's findings are accepted: the server rewrites the table for a stored column, nobody reads or writes it
meanwhile, and so an index made or dropped concurrently would spare nobody. That is a moment in a new application. Where
users are many already, add a plain column instead, in the steps of docs/expand-contract.md.
"""

import sqlalchemy as sa
from alembic import op

revision: str = "e5b70d8c4f12"
down_revision: str | tuple[str, ...] | None = "6a0fd5c3187e"
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    op.execute("""
        CREATE FUNCTION set_updated_at_but_for() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF to_jsonb(NEW) - TG_ARGV IS DISTINCT FROM to_jsonb(OLD) - TG_ARGV THEN
                NEW.updated_at := now();
            END IF;
            RETURN NEW;
        END
        $$
    """)
    op.execute("DROP TRIGGER set_updated_at ON users")
    op.execute("""
        -- squawk-ignore adding-field-with-default
        ALTER TABLE users ADD COLUMN email_key text GENERATED ALWAYS AS (lower(email)) STORED NOT NULL
    """)
    op.execute("""
        CREATE TRIGGER set_updated_at BEFORE UPDATE ON users
        FOR EACH ROW EXECUTE FUNCTION set_updated_at_but_for('email_key')
    """)
    op.execute("""
        -- squawk-ignore require-concurrent-index-creation
        CREATE UNIQUE INDEX uq_users_email_key ON users (email_key)
    """)
    op.execute("""
        -- squawk-ignore require-concurrent-index-deletion
        DROP INDEX uq_users_email_lower
    """)


def downgrade() -> None:
    op.create_index("uq_users_email_lower", "users", [sa.text("lower(email)")], unique=True)
    op.execute("DROP TRIGGER set_updated_at ON users")
    op.drop_column("users", "email_key")
    op.keep_updated_at("users")
    op.execute("DROP FUNCTION set_updated_at_but_for()")
