"""What `invoke history` tells: the newest transactions on all timelines, with their tables."""

from __future__ import annotations

import difflib
import heapq
import json
import re
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING

from drydock.backup import encryption
from drydock.errors import DrydockError, NotReadyError, RefusedError
from drydock.recovery.archive import progress
from drydock.recovery.bases.base import archive_of
from drydock.recovery.history import indexing, relations
from drydock.recovery.history.index import microseconds_of
from drydock.recovery.history.queries import OPEN, OWN, TELLING, History

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from drydock.environment import Environment
    from drydock.recovery.archive.folders import Archive
    from drydock.recovery.history.index import Transaction
    from drydock.recovery.history.naming import Counts

NEAR = 5  # names that are told where there is none of that name
_PUBLIC = re.compile(r"(?:(?<=:)|^)public\.")
PATIENCE = 5.0  # seconds for the archiver to receive what has just been written
_WAITING = (
    "state = 2 AND NOT EXISTS (SELECT 1 FROM transactions AS other WHERE other.timeline = transactions.timeline"
    " AND other.xid = transactions.xid AND other.state < 2 AND other.lsn > transactions.lsn)"
)


@dataclass(frozen=True)
class Wanted:
    """What is asked for.

    Attributes:
        since: aware.
        table: as the history names it, or with `public.` before it.
        aborted: with those that were rolled back, or are prepared and wait.
        everything: with what drydock did in databases that were nobody else's.
    """

    limit: int
    since: datetime | None = None
    table: str = ""
    aborted: bool = False
    everything: bool = False


@dataclass(frozen=True)
class Line:
    """A transaction with the tables it changed.

    Attributes:
        undone: True where the data of today does not descend from it: a restore went back behind it.
        who: what it said of itself: its JSON object, or plain words as `text`; empty where it said nothing.
        begins: True where it is the first of a timeline that branched off another: a restore of the whole cluster.
    """

    transaction: Transaction
    tables: dict[str, Counts]
    undone: bool
    who: dict[str, object]
    begins: bool


def bring_up(environment: Environment) -> tuple[Archive, list[str]]:
    """Index what is new, with the names that tables have now; returns the archive and what is missing, as sentences.

    Raises:
        RefusedError: where nothing is archived.
        DrydockError: where the WAL cannot be read.
    """
    archive = archive_of(environment)
    if not archive.folder.is_dir():
        raise RefusedError("No WAL has been archived, so there is no history.", hint="WAL_ARCHIVE=on; invoke up")
    missing = []
    try:
        newest = relations.keep(environment, archive)
        progress.wait_for(environment, newest, PATIENCE)
    except NotReadyError as error:
        missing.append(f"the newest transactions may be missing: {error.message.rstrip('.')}")
    done = indexing.refresh(environment.engine, archive, encryption.sealing(environment.settings))
    return archive, missing + done.problems


@dataclass(frozen=True)
class Told:
    """The transactions that were asked for, newest first.

    Attributes:
        several: True where there is more than one timeline, told or not: a number alone may not say which is meant.
        elsewhere: tables of that name in other databases, as the history names them, where no transaction fits.
    """

    lines: list[Line]
    several: bool
    elsewhere: list[str]


def told(archive: Archive, database: str, wanted: Wanted) -> Told:
    """The newest transactions, newest first.

    Args:
        archive: indexed.
        database: the one whose tables are told without its name.
        wanted: which.

    Raises:
        DrydockError: where no table of that name is known.
    """
    with History(archive, database) as history:
        if wanted.table:
            wanted = replace(wanted, table=_known(history, wanted.table))
        timelines = [number for (number,) in history.index.rows("SELECT DISTINCT timeline FROM runs")]
        streams = [_of_timeline(history, timeline, wanted) for timeline in timelines]
        merged = heapq.merge(*streams, key=lambda line: line.transaction.moment, reverse=True)
        lines = list(islice(merged, wanted.limit))
        elsewhere = _elsewhere(history.names.known(), wanted.table) if wanted.table and not lines else []
        return Told(lines, len(timelines) > 1, elsewhere)


def _of_timeline(history: History, timeline: int, wanted: Wanted) -> Iterator[Line]:
    where = [TELLING, f"(state = 0{f' OR state = 1 OR {_WAITING}' if wanted.aborted else ''})", "timeline = ?"]
    where += [] if wanted.everything else [OPEN]
    values: list[object] = [timeline]
    if wanted.since:
        moment = microseconds_of(wanted.since)
        first = "SELECT lsn FROM transactions WHERE timeline = ? AND newest >= ? ORDER BY newest, lsn LIMIT 1"
        where += [f"lsn >= coalesce(({first}), {1 << 62})", "microseconds >= ?"]
        values += [timeline, moment, moment]
    shapes = _shapes(history, wanted.table) if wanted.table else [None]
    streams = [history.index.transactions(" AND ".join(where), values, order="lsn DESC", shape=one) for one in shapes]
    present, begun = history.present(), _begun(history, timeline)
    for found in heapq.merge(*streams, key=lambda transaction: transaction.lsn, reverse=True):
        tables = history.names.tables(found.timeline, found.lsn, found.rows)
        if wanted.table in tables if wanted.table else found.ddl or found.who or not OWN.issuperset(tables):
            undone = present is not None and not present.holds(found.timeline, found.end)
            yield Line(found, tables, undone, _who(found.who), begins=found.lsn == begun)


def _begun(history: History, timeline: int) -> int | None:
    """The first transaction of a timeline that another one led to; None of the first timeline of all."""
    query = f"SELECT min(lsn) FROM transactions WHERE timeline = ? AND state = 0 AND {TELLING}"  # noqa: S608 - constants
    return None if timeline == 1 else next(lsn for (lsn,) in history.index.rows(query, (timeline,)))


def _shapes(history: History, table: str) -> Sequence[int | None]:
    """The sets of files that may hold rows of a table."""
    files = history.names.files(table)
    rows = history.index.rows("SELECT id, files FROM shapes")
    return [number for number, listed in rows if files.intersection(listed.split())]


def _known(history: History, table: str) -> str:
    """A table as the history names it, which may not have been written to since it was made.

    Raises:
        DrydockError: where no table and no file is called that; it names those that are called nearly so.
    """
    name = _PUBLIC.sub("", table)
    known = history.names.known()
    if name in known or history.names.files(name):
        return name
    elsewhere = _elsewhere(known, name)
    near = [*elsewhere, *difflib.get_close_matches(name, sorted(known - {*elsewhere}), n=NEAR)]
    hint = f"Near it: {', '.join(near[:NEAR])}" if near else "invoke history shows the tables as it names them"
    raise DrydockError(f"The history knows no table {table!r}.", hint=hint)


def _elsewhere(known: set[str], table: str) -> list[str]:
    """The tables of that name in other databases."""
    return sorted(one for one in known if one.endswith(f":{table}"))


def _who(text: str) -> dict[str, object]:
    try:
        found = json.loads(text)
    except ValueError:
        found = text
    if isinstance(found, dict):
        return found
    return {"text": text} if text else {}
