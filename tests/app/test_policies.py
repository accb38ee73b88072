"""The migration operations for tenant tables, and what autogenerate makes of a table that gets or loses its tenant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import render_python_code
from alembic.migration import MigrationContext
from alembic.operations import Operations, ops

from app.db.policies import rewriter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.app.conftest import AppDatabase

GUARDS = sa.text("""
    SELECT relrowsecurity, relforcerowsecurity, (SELECT array_agg(polname::text ORDER BY polname::text) FROM pg_policy
    WHERE polrelid = c.oid) FROM pg_class AS c WHERE relname = 'odd "name"'
""")
COLUMNS = (sa.Column("id", sa.Uuid(), primary_key=True), sa.Column("updated_at", sa.DateTime(timezone=True)))


@pytest.fixture
def connection(app_database: AppDatabase) -> Iterator[sa.Connection]:
    """The owner's connection."""
    engine = sa.create_engine(app_database.owner_url)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


@pytest.fixture
def op(connection: sa.Connection) -> Any:
    """What `alembic.op` is in a migration."""
    return Operations(MigrationContext.configure(connection))


def guards(connection: sa.Connection) -> tuple[Any, ...]:
    """Whether row-level security is on and forced, and the names of the policies."""
    return tuple(connection.execute(GUARDS).one())


def tenant() -> sa.Column[Any]:
    """A tenant column."""
    return sa.Column("tenant_id", sa.Uuid(), nullable=False)


def test_a_table_is_isolated_and_open_again(op: Any, connection: sa.Connection) -> None:
    """Enable and disable undo each other, whatever the table is called; a new tenant table begins isolated."""
    isolated = (True, True, ["system_access", "tenant_isolation"])
    name = 'odd "name"'
    op.create_tenant_table(name, tenant(), *[column._copy() for column in COLUMNS])
    assert guards(connection) == isolated
    trigger = "SELECT count(*) FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = tgrelid AND relname = :name"
    assert connection.scalar(sa.text(f"{trigger} WHERE tgname = 'set_updated_at'"), {"name": name}) == 1
    op.disable_tenant_isolation(name)
    assert guards(connection) == (False, False, None)
    op.enable_tenant_isolation(name)
    assert guards(connection) == isolated


def test_a_trail_has_no_policy_for_changes(op: Any, connection: sa.Connection) -> None:
    """Append-only is one policy to read and one to add, for the tenant and for the system."""
    name = 'odd "name"'
    op.create_tenant_table(name, tenant(), append_only=True)
    names = ["system_access", "system_access_insert", "tenant_isolation", "tenant_isolation_insert"]
    assert guards(connection) == (True, True, names)
    op.disable_tenant_isolation(name)
    assert guards(connection) == (False, False, None)


@pytest.mark.parametrize("columns", [(), (sa.Column("tenant_id", sa.Uuid(), nullable=True),)])
def test_a_table_without_a_tenant_is_refused(op: Any, columns: tuple[Any, ...]) -> None:
    """It says which mixin the model lacks."""
    with pytest.raises(ValueError, match="use TenantMixin"):
        op.create_tenant_table("loose", sa.Column("id", sa.Uuid()), *[column._copy() for column in columns])


def rewritten(operation: ops.MigrateOperation) -> tuple[str, str]:
    """What autogenerate writes for an operation found in the models, up and down."""
    up = ops.UpgradeOps(ops=[ops.ModifyTableOps("things", [operation])])
    script = ops.MigrationScript("1", up, up.reverse())
    rewriter(MigrationContext.configure(dialect_name="postgresql"), "1", [script])
    assert script.upgrade_ops is not None
    assert script.downgrade_ops is not None
    return render_python_code(script.upgrade_ops), render_python_code(script.downgrade_ops)


def test_a_table_that_gets_a_tenant_gets_policies() -> None:
    """They come after the column, and go before it: they depend on it."""
    up, down = rewritten(ops.AddColumnOp("things", tenant()))
    assert up.index("op.add_column('things'") < up.index("op.enable_tenant_isolation('things')")
    assert down.index("op.disable_tenant_isolation('things')") < down.index("op.drop_column('things'")


def test_other_columns_are_left_alone() -> None:
    """A column that names no tenant brings no policy."""
    assert "isolation" not in "".join(rewritten(ops.AddColumnOp("things", sa.Column("name", sa.Text()))))


def test_a_dropped_table_comes_back_isolated() -> None:
    """Taking back the drop of a tenant table does not leave it open."""
    table = sa.Table("things", sa.MetaData(), tenant(), sa.Column("name", sa.Text()))
    up = ops.UpgradeOps(ops=[ops.DropTableOp.from_table(table)])
    script = ops.MigrationScript("1", up, up.reverse())
    rewriter(MigrationContext.configure(dialect_name="postgresql"), "1", [script])
    assert script.downgrade_ops is not None
    assert "op.create_tenant_table('things'" in render_python_code(script.downgrade_ops)
