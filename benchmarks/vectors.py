"""Vector search: the repository's nearest rows by the HNSW index against an exact scan, and how many of them agree."""

from __future__ import annotations

from itertools import cycle, islice
from random import Random
from statistics import mean
from struct import unpack
from typing import TYPE_CHECKING

from app.db import system_access, tenant_context
from app.db.repository import Repository
from app.models import Message
from app.seeds import embeddings
from app.seeds.words import TOPICS
from benchmarks.measure import Limit, Row, interleave, seconds
from benchmarks.service import service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from uuid import UUID

    from sqlalchemy.orm import Session

    Vector = list[float]
    Answers = list[set[UUID]]

ROUNDS, QUERIES, NEIGHBOURS = 5, 20, 10
RECALL = Limit(0.95, at_least=True)


def measure(rounds: int = ROUNDS) -> list[Row]:
    """Over all rows of the medium seeds, through the system's door, and within one tenant of 250."""
    with service("embedded", "medium") as served:
        everybody = Side(lambda: system_access("benchmark of vector search"), served.database.owner_session)
        one = Side(lambda: tenant_context(served.tenant), served.database.session)
        return [*_measure("all tenants", everybody, rounds), *_measure("one tenant of 250", one, rounds)]


class Side:
    """Searches as somebody: with the index, or without."""

    def __init__(
        self,
        scope: Callable[[], AbstractContextManager[None]],
        session: Callable[[], AbstractContextManager[Session]],
    ) -> None:
        self._scope, self._session = scope, session
        self.queries = list(_unseen())

    def search(self, *, exact: bool) -> Answers:
        """The ids of the nearest rows of every query, each in a transaction of its own."""
        return [self._nearest(query, exact=exact) for query in self.queries]

    def _nearest(self, query: Vector, *, exact: bool) -> set[UUID]:
        with self._scope(), self._session() as session:
            if exact:
                session.connection().exec_driver_sql("SET LOCAL enable_indexscan = off")
            found = Repository(session, Message).nearest(query, limit=NEIGHBOURS)
            return {neighbour.row.id for neighbour in found}


def _unseen() -> Iterator[Vector]:
    """Embeddings of messages that nobody wrote, as the seeds would have made them."""
    draw = Random("queries of the benchmark")  # noqa: S311 - sample data
    for topic in islice(cycle(TOPICS), QUERIES):
        digits = f"{draw.getrandbits(4 * embeddings.BLOCKS):0{embeddings.BLOCKS}x}"
        encoded = embeddings.embedding(embeddings.blocks(topic.name), digits)
        yield list(unpack(f">{embeddings.DIMENSIONS}f", encoded[len(embeddings.HEADER) :]))


def _measure(name: str, side: Side, rounds: int) -> list[Row]:
    exact = side.search(exact=True)
    recalls = [
        mean(len(found & wanted) / len(wanted) for found, wanted in zip(side.search(exact=False), exact, strict=True))
        for _ in range(rounds)
    ]
    indexed, scanned = interleave(
        rounds, lambda: seconds(lambda: side.search(exact=False)), lambda: seconds(lambda: side.search(exact=True))
    )
    what = f"{QUERIES} times the nearest {NEIGHBOURS}, {name}"
    return [
        Row(what, "the same without the index", indexed, scanned),
        # A share, not seconds: what the index finds of what the scan finds.
        Row(f"recall of {what}", "an exact scan", [1.0] * rounds, recalls, RECALL),
    ]
