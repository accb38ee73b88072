"""What every table shares: the naming convention, the Postgres type of each Python type, and the usual columns.

A table whose rows belong to tenants is a model with `TenantMixin`; its other tables are referred to by `tenant_key`:

    class Invoice(TenantMixin, Base):
        __tablename__ = "invoices"
        __table_args__ = (tenant_key("business_id", "businesses"), Index(None, "business_id"))

        business_id: Mapped[UUID]

`invoke migrate.new` then writes a migration that creates and isolates it.
"""

from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    MetaData,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

NAMING_CONVENTION = {
    "pk": "pk_%(table_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
}
"""Every constraint and index has a name that a migration can drop and an error handler can look up."""
CURRENT_TENANT = "(NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::uuid"
"""The tenant of the transaction, NULL outside a tenant context; written as Postgres prints it: autogenerate compares
the text and cannot compare the value."""
EMBEDDING_DIMENSIONS = 384
"""Numbers in an embedding; a column of another length needs a migration of the data."""


class Base(DeclarativeBase):
    """The root of the models: text rather than varchar, bigint rather than integer, times with a time zone."""

    metadata = MetaData(naming_convention=NAMING_CONVENTION)
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        str: Text(),
        int: BigInteger(),
        UUID: Uuid(),
        datetime: DateTime(timezone=True),
        dict[str, Any]: JSONB(),
    }


class UuidKey:
    """A uuid primary key that the server draws when the row brings none."""

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=text("gen_random_uuid()"), sort_order=-100)


class CreatedAt:
    """The time of the transaction that inserted the row."""

    created_at: Mapped[datetime] = mapped_column(server_default=func.now(), sort_order=100)


class Timestamps(CreatedAt):
    """`created_at`, and the time of the transaction that last changed the row.

    A table with these columns needs the trigger that its migration makes: `set_updated_at` keeps `updated_at`, for
    every client and not only for this one.
    """

    updated_at: Mapped[datetime] = mapped_column(server_default=func.now(), sort_order=101)


class TenantScoped(UuidKey):
    """Rows that belong to one organization each, the current tenant's unless told, and go with it.

    `(tenant_id, id)` is unique for the foreign keys of other tables, and leads with the tenant for every query.
    """

    tenant_id: Mapped[UUID] = mapped_column(
        ForeignKey("organizations.id", ondelete="CASCADE"), server_default=text(CURRENT_TENANT), sort_order=-90
    )

    def __init_subclass__(cls, **options: Any) -> None:
        """Add the constraint to a mapped class, beside whatever its own `__table_args__` say."""
        super().__init_subclass__(**options)
        if "__table__" in cls.__dict__:
            cls.__dict__["__table__"].append_constraint(UniqueConstraint("tenant_id", "id"))


class TenantMixin(TenantScoped, Timestamps):
    """What a tenant's table usually has: `id`, `tenant_id`, `created_at` and `updated_at`."""


def tenant_key(column: str, parent: str) -> ForeignKeyConstraint:
    """A reference to a row of `parent` that belongs to the same tenant; the row goes with it."""
    return ForeignKeyConstraint(["tenant_id", column], [f"{parent}.tenant_id", f"{parent}.id"], ondelete="CASCADE")
