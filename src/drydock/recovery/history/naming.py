"""The table that a file was at some point of the WAL: proven from maps and what happened in between, or not told.

A map holds at another position where everything between the two was read, and nothing there made or removed the file,
or can have given its table another name. TRUNCATE and the like cannot be followed from the old file to the new one:
they look in the WAL like a TRUNCATE that goes with a RENAME. So only a map from after it names the new file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from drydock.recovery.history.index import stretches
from drydock.recovery.history.relations import CATALOGUES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from drydock.recovery.history.index import Index
    from drydock.recovery.history.relations import Map, Relation
    from drydock.recovery.wal.positions import Descent

LARGE_OBJECTS = 2613
Counts = tuple[int, int, int]


@dataclass(frozen=True)
class Named:
    """What a file was.

    Attributes:
        database: its object identifier.
        relation: None where it is not proven.
    """

    database: int
    number: int
    relation: Relation | None

    @property
    def folded(self) -> bool:
        """True where its rows are none of a table's own: TOAST, and catalogues that were moved."""
        if self.relation is None or self.number == LARGE_OBJECTS:
            return False
        return self.relation.kind == "t" or self.relation.schema in CATALOGUES


class Names:
    """Tells what files were.

    Args:
        index: what happened.
        maps: what is known, of any time.
        descents: where the timelines come from.
        home: the name of the database whose tables are told without it; of several, the one that had it last.
    """

    def __init__(self, index: Index, maps: Sequence[Map], descents: Mapping[int, Descent], home: str = "") -> None:
        self.index = index
        self.descents = descents
        latest = sorted(maps, key=lambda found: found.taken)
        self.databases = {found.oid: found.name for found in latest}
        self.home = next((found.oid for found in reversed(latest) if found.name == home), None)
        self._maps: dict[int, list[Map]] = {}
        for found in maps:
            self._maps.setdefault(found.oid, []).append(found)
        self._known: dict[tuple[int, int, str], Named] = {}

    def find(self, timeline: int, lsn: int, file: str) -> Named:
        """What a file was to the transaction that ended at a position of a timeline."""
        key = (timeline, lsn, file)
        if key not in self._known:
            self._known[key] = self._find(timeline, lsn, file)
        return self._known[key]

    def text(self, named: Named) -> str:
        """A table for people: `messages`, `other_schema.messages`, `database:messages`, or `?(16392)`."""
        if named.number == LARGE_OBJECTS:
            table = "large objects"
        elif named.relation is None:
            table = f"?({named.number})"
        else:
            schema = named.relation.schema
            table = named.relation.table if schema == "public" else f"{schema}.{named.relation.table}"
        return (
            table if self.home is None or named.database == self.home else f"{self._database(named.database)}:{table}"
        )

    def tables(
        self, timeline: int, lsn: int, rows: Mapping[str, tuple[int, int, int]]
    ) -> dict[str, tuple[int, int, int]]:
        """Rows by table, those of TOAST and catalogues left out."""
        found: dict[str, tuple[int, int, int]] = {}
        for file, count in rows.items():
            named = self.find(timeline, lsn, file)
            if not named.folded:
                before = found.get(self.text(named), (0, 0, 0))
                found[self.text(named)] = (before[0] + count[0], before[1] + count[1], before[2] + count[2])
        return found

    def files(self, table: str) -> set[str]:
        """The files that may be of a table, named as `text` does."""
        if unknown := re.fullmatch(r"(?:.*:)?\?\((\d+)\)", table):
            shapes = self.index.rows("SELECT files FROM shapes")
            return {file for (files,) in shapes for file in files.split() if file.endswith(f"/{unknown[1]}")}
        known = self._all()
        shapes = self.index.rows("SELECT files FROM shapes") if table in known else []
        return {file for (files,) in shapes for file in files.split() if file.partition("/")[2] in known[table]}

    def known(self) -> set[str]:
        """Every table's name."""
        return set(self._all())

    def _all(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for one in (one for maps in self._maps.values() for one in maps):
            for number, relation in one.files.items():
                named = Named(one.oid, number, relation)
                if not named.folded:
                    found.setdefault(self.text(named), set()).add(f"{one.oid}/{number}")
        return found

    def _database(self, oid: int) -> str:
        """A database for people; where another one has its name by now, with its number."""
        name = self.databases.get(oid)
        if name is None:
            return f"?({oid})"
        home = self.databases.get(self.home) if self.home else None
        return f"{name}({oid})" if name == home else name

    def _find(self, timeline: int, lsn: int, file: str) -> Named:
        database, number = map(int, file.split("/")[1:])
        candidates = [found for found in self._maps.get(database, []) if number in found.files]
        for found in sorted(candidates, key=lambda found: abs(found.end - lsn)):
            relation = found.files[number]
            if found.watched and self._holds(found, relation, timeline, lsn, file):
                return Named(database, number, relation)
        return Named(database, number, None)

    def _holds(self, found: Map, relation: Relation, timeline: int, lsn: int, file: str) -> bool:
        """Whether a map is true of a file at another position."""
        descent = self._common(found, timeline, lsn)
        if descent is None:
            return False
        # What the transaction itself did to names is true after its end, and not before.
        lower, upper = min(lsn + 1, found.begin), max(lsn + 1, found.end)
        if not self.index.covered(descent, min(lsn, found.begin), max(lsn, found.end)):
            return False
        relations = (f"{found.oid}/{relation.oid}", f"{found.oid}/0", "/0")
        query = "SELECT xid, kind, lsn FROM events WHERE timeline = ? AND (file = ? OR relation IN (?, ?, ?))"
        for piece, begin, end in stretches(descent, 0, 1 << 62):
            for xid, kind, at in self.index.rows(query, (piece, file, *relations)):
                inside = begin <= at < end
                own_end = at == lsn and kind == "dropped"  # its rows were there before
                if inside and ((lower <= at < upper and not own_end) or xid in found.running):
                    return False
        return True

    def _common(self, found: Map, timeline: int, lsn: int) -> Descent | None:
        """A line of descent that both positions are on."""
        for leaf in (found.timeline, timeline):
            descent = self.descents.get(leaf)
            if descent and descent.holds(timeline, lsn) and descent.holds(found.timeline, found.end):
                return descent
        return None
