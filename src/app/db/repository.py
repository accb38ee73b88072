"""Repositories: one table's rows by id, newest first, page by page, in bulk, and by meaning."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from uuid import UUID

from sqlalchemy import delete, func, inspect, select, tuple_, update

from app.db import bulk
from app.models.base import Base

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sqlalchemy import ColumnElement, Select
    from sqlalchemy.orm import Session

DEFAULT_LIMIT = 100
DEFAULT_NEIGHBOURS = 10
MIN_CANDIDATES, MAX_CANDIDATES = 200, 1000
"""How many rows the index considers (`hnsw.ef_search`, 1000 at most). Of 100,000 seeded messages its default of 40
found 73 % of the nearest ten; 200 found 99 % and took a few milliseconds more (benchmarks/vectors.py)."""

Model = TypeVar("Model", bound=Base)


@dataclass(frozen=True)
class Page(Generic[Model]):
    """Some rows, newest first, and the cursor of the page after them; None on the last page."""

    rows: list[Model]
    next: str | None


@dataclass(frozen=True)
class Neighbour(Generic[Model]):
    """A row and its cosine distance to what was asked for: 0 is the same direction, 2 the opposite one."""

    row: Model
    distance: float


class Repository(Generic[Model]):
    """The rows of one model, in one session's transaction and for its tenant.

    Every method takes part in the session's transaction and commits nothing. Values travel as parameters. In an
    asynchronous session: `await session.run_sync(lambda s: Repository(s, Form).find_all())`.

    Args:
        session: with the tenant's context; without one there are no rows.
        model: with the columns `id` and `created_at`.
    """

    def __init__(self, session: Session, model: type[Model]) -> None:
        self.session = session
        self.model = model
        columns = inspect(model).columns
        self._id: ColumnElement[UUID] = columns["id"]
        self._created_at: ColumnElement[datetime] = columns["created_at"]

    def find_by_id(self, identity: UUID) -> Model | None:
        """The row with this id; None where there is none or it is another tenant's."""
        return self.session.get(self.model, identity)

    def find_all(self, *where: ColumnElement[bool], limit: int = DEFAULT_LIMIT, offset: int = 0) -> Sequence[Model]:
        """Rows that meet all conditions, newest first.

        The server reads and drops `offset` rows: beyond a few thousand, `find_page` is what scales.

        Raises:
            ValueError: `limit` is below 1, or `offset` negative.
        """
        _refuse_below(1, limit=limit)
        _refuse_below(0, offset=offset)
        return self.session.scalars(self._newest_first(where).limit(limit).offset(offset)).all()

    def find_page(
        self, *where: ColumnElement[bool], limit: int = DEFAULT_LIMIT, after: str | None = None
    ) -> Page[Model]:
        """A page of rows, newest first, that begins after the cursor of an earlier page (keyset pagination).

        Rows inserted meanwhile neither repeat nor hide others, and a late page costs no more than an early one.

        Raises:
            ValueError: `limit` is below 1, or `after` is no cursor of `find_page`.
        """
        _refuse_below(1, limit=limit)
        query = self._newest_first(where).limit(limit + 1)
        if after is not None:
            query = query.where(tuple_(self._created_at, self._id) < tuple_(*_read_cursor(after)))
        rows = list(self.session.scalars(query))
        more = len(rows) > limit
        return Page(rows[:limit], self._cursor(rows[limit - 1]) if more else None)

    def count(self, *where: ColumnElement[bool]) -> int:
        """How many rows meet all conditions."""
        return self.session.scalar(select(func.count()).select_from(self.model).where(*where)) or 0

    def insert(self, row: Model) -> Model:
        """Insert a row; it has its id and its defaults afterwards."""
        self.session.add(row)
        self.session.flush()
        return row

    def insert_many(self, rows: Iterable[Mapping[str, Any]]) -> int:
        """Insert many rows by binary COPY; returns how many.

        Args:
            rows: values by attribute; every row has the attributes of the first. What is left out gets its default.

        Raises:
            ValueError, TypeError, psycopg.DataError: as `app.db.bulk.insert`.
        """
        return bulk.insert(self.session, self.model, rows)

    def update(self, identity: UUID, **values: Any) -> Model | None:
        """Change a row in one statement; returns it as it is now, None where there is none.

        Raises:
            sqlalchemy.exc.InvalidRequestError: the model has no such attribute.
        """
        statement = update(self.model).where(self._id == identity).values(**values).returning(self.model)
        return self.session.scalar(statement, execution_options={"populate_existing": True})

    def delete(self, identity: UUID) -> bool:
        """Delete a row with all that hangs on it; False where there was none."""
        statement = delete(self.model).where(self._id == identity).returning(self._id)
        return self.session.scalar(statement) is not None

    def nearest(
        self, embedding: Sequence[float], *where: ColumnElement[bool], limit: int = DEFAULT_NEIGHBOURS
    ) -> list[Neighbour[Model]]:
        """The rows whose `embedding` is nearest by cosine distance and that meet all conditions, nearest first.

        The HNSW index is asked iteratively: without that it looks at some nearest rows of *all* tenants and only then
        drops those that policies and conditions exclude, which may be all of them (pgvector's README, "Filtering" and
        "Iterative Index Scans").

        Raises:
            TypeError: the model has no `embedding`.
            ValueError: `limit` is below 1.
        """
        _refuse_below(1, limit=limit)
        column = inspect(self.model).columns.get("embedding")
        if column is None:
            raise TypeError(f"{self.model.__name__} has no embedding to search by.")
        candidates = max(MIN_CANDIDATES, min(2 * limit, MAX_CANDIDATES))
        self.session.execute(
            select(
                func.set_config("hnsw.iterative_scan", "strict_order", True),  # noqa: FBT003 - SQL, by position
                func.set_config("hnsw.ef_search", str(candidates), True),  # noqa: FBT003
            )
        )
        distance = column.cosine_distance(embedding)
        query = select(self.model, distance).where(column.is_not(None), *where).order_by(distance).limit(limit)
        return [Neighbour(row, float(apart)) for row, apart in self.session.execute(query)]

    def _newest_first(self, where: Sequence[ColumnElement[bool]]) -> Select[Model]:
        return select(self.model).where(*where).order_by(self._created_at.desc(), self._id.desc())

    def _cursor(self, row: Model) -> str:
        state = inspect(row)
        created_at: datetime = state.attrs["created_at"].value
        return _write_cursor(created_at, state.attrs["id"].value)


def _refuse_below(least: int, **given: int) -> None:
    for name, value in given.items():
        if value < least:
            raise ValueError(f"{name} must be at least {least}, not {value}.")


def _write_cursor(created_at: datetime, identity: UUID) -> str:
    return base64.urlsafe_b64encode(f"{created_at.isoformat()} {identity}".encode()).decode()


def _read_cursor(text: str) -> tuple[datetime, UUID]:
    try:
        created_at, identity = base64.b64decode(text, altchars=b"-_", validate=True).decode().split(" ")
        return datetime.fromisoformat(created_at), UUID(identity)
    except (ValueError, binascii.Error) as error:
        raise ValueError(f"{text!r} is no cursor of an earlier page.") from error
