"""Indexes over embeddings, built one after another with all the memory there is: they take most of a restore.

pgvector builds the graph of an HNSW index in memory while it fits into maintenance_work_mem, and several times slower
from then on. A parallel build takes all of that from shared memory at once, so that two at the same time get half each
(pgvector's README, "Index Build Time"; HnswBeginParallel in src/hnswbuild.c).
"""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING

from psycopg import sql

from drydock import rules

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from drydock.backup.foreign.table_of_contents import Item
    from drydock.environment import Environment
    from drydock.postgres import Connection

WORKERS = 2
SERIAL = 256 << 20  # bytes, of the process's own memory
_METHOD = re.compile(r"^CREATE (UNIQUE )?INDEX .* USING (hnsw|ivfflat) \(", re.MULTILINE)


def among(items: Sequence[Item]) -> list[Item]:
    """Those of a dump's items that are such indexes, and the comments on them; none where indexes are of partitions.

    An index of a partitioned table takes over those of its partitions, which must be there by then.
    """
    if any(item.kind == "INDEX ATTACH" for item in items):
        return []
    indexes = [item for item in items if item.kind == "INDEX" and _METHOD.search(item.definition)]
    names = {f"INDEX {item.tag}" for item in indexes}
    return [*indexes, *(item for item in items if item.kind == "COMMENT" and item.tag in names)]


def build(environment: Environment, connection: Connection, items: Sequence[Item], done: Callable[[], None]) -> None:
    """Create the indexes; the session keeps the memory it is given for that."""
    memory, workers = _means(environment)
    for name, value in (("maintenance_work_mem", f"{memory >> 20}MB"), ("max_parallel_maintenance_workers", workers)):
        connection.execute(sql.SQL("SET {} = {}").format(sql.Identifier(name), sql.Literal(value)))
    for item in items:
        connection.execute(item.definition.encode())
        done()


def _means(environment: Environment) -> tuple[int, int]:
    """Memory in bytes and parallel workers for one build: what shared memory holds, and some room beside it."""
    shared = rules.BYTES[1](environment.settings.postgres_shm)
    if environment.state.engine == "embedded" and sys.platform == "linux":
        about = os.statvfs("/dev/shm")  # noqa: S108 - where POSIX shared memory is (shm_overview(7))
        shared = min(shared, about.f_bavail * about.f_frsize)
    memory = shared // 8 * 7
    return (memory, WORKERS) if memory >= SERIAL else (SERIAL, 0)
