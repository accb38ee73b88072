"""What every table shares: the naming convention, the Postgres type of each Python type, and the usual columns."""

from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import BigInteger, DateTime, MetaData, Text, Uuid, func, text
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
