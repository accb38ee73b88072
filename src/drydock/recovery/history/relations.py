"""Which file of a cluster is which table, written down now and then: the WAL knows files only.

A map is true of the moment it was taken at. What it says of other moments is for naming.py to prove.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import psycopg

from drydock import postgres
from drydock.errors import NotReadyError
from drydock.files import write_atomic
from drydock.recovery.wal.positions import parse_lsn
from drydock.template import BUILDING, COMING, LEAVING

if TYPE_CHECKING:
    from pathlib import Path

    from drydock.environment import Environment
    from drydock.postgres import Connection
    from drydock.recovery.archive.folders import Archive

FOLDER = "relations"
CATALOGUES = frozenset({"pg_catalog", "information_schema", "pg_toast"})
# One snapshot for all of it. Tables, materialised views, and TOAST tables with the one they belong to.
_FILES = """
SELECT CASE WHEN c.relfilenode = 0 THEN pg_relation_filenode(c.oid) ELSE c.relfilenode END,
       c.oid, n.nspname, coalesce(owner.relname, c.relname), c.relkind::text
FROM pg_class c
LEFT JOIN pg_class owner ON owner.reltoastrelid = c.oid
JOIN pg_namespace n ON n.oid = coalesce(owner.relnamespace, c.relnamespace)
WHERE c.relkind IN ('r', 'm', 't') AND c.relpersistence <> 't'"""
_RUNNING = "SELECT pg_snapshot_xip(pg_current_snapshot())::text"
_SELF = "SELECT oid, datname FROM pg_database WHERE datname = current_database()"
_NODES = "SELECT pg_relation_filenode('pg_catalog.pg_class'), pg_relation_filenode('pg_catalog.pg_namespace')"
_WHERE = "SELECT pg_current_wal_insert_lsn()::text, pg_walfile_name(pg_current_wal_insert_lsn())"
# Nobody can clone a database while somebody is connected to it; those being made or dropped are left alone too.
# A connection limit of -2 is what an interrupted DROP DATABASE leaves (DATCONNLIMIT_INVALID_DB).
_DATABASES = "SELECT oid, datname, datallowconn AND NOT datistemplate AND datconnlimit <> -2 FROM pg_database"


@dataclass(frozen=True)
class Relation:
    """What a file is.

    Attributes:
        oid: of the relation; another file of it comes with TRUNCATE and the like.
        schema: of the table.
        table: its name, or that of the table it is the TOAST of.
        kind: `r`, `m`, or `t` for TOAST.
    """

    oid: int
    schema: str
    table: str
    kind: str


@dataclass(frozen=True, kw_only=True)
class Map:
    """The files of one database.

    Attributes:
        timeline: on which it was taken.
        begin: the position in the WAL before it was taken; `end` the one afterwards.
        running: transactions whose changes it does not show, wherever their commit is.
        taken: when, UTC, ISO 8601, by this machine's clock.
        oid: of the database.
        name: of the database at that time.
        files: by file number.
        watched: whether a new name would be seen in the WAL: pg_class and pg_namespace are in the files initdb made.
    """

    taken: str
    timeline: int
    begin: int
    end: int
    running: tuple[int, ...]
    oid: int
    name: str
    files: dict[int, Relation]
    watched: bool


def take(environment: Environment) -> list[Map]:
    """Maps of the databases of a running server that can be connected to, but for templates."""
    with postgres.administer(environment) as connection:
        rows = connection.execute(_DATABASES).fetchall()
    transient = (BUILDING, COMING, LEAVING)
    names = [str(name) for _, name, open_ in rows if open_ and not str(name).endswith(transient)]
    found = []
    for name in names:
        with postgres.administer(environment, name) as connection:
            found.append(read(connection))
    return found


def read(connection: Connection) -> Map:
    """The map of the database that a superuser's connection is to; the connection commits by itself."""
    begin, _ = _position(connection)  # before the snapshot
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        running = [int(str(xid)) for (xid,) in connection.execute(_RUNNING)]
        oid, name = connection.execute(_SELF).fetchall()[0]
        files = {
            int(str(node)): Relation(int(str(relation)), str(schema), str(table), str(kind))
            for node, relation, schema, table, kind in connection.execute(_FILES)
            if node is not None
        }
        nodes = connection.execute(_NODES).fetchone()
        end, timeline = _position(connection)
    return Map(
        taken=datetime.now(UTC).isoformat(),
        timeline=timeline,
        begin=begin,
        end=end,
        running=tuple(xid % (1 << 32) for xid in running),
        oid=int(str(oid)),
        name=str(name),
        files=files,
        watched=nodes == (1259, 2615),
    )


def keep(environment: Environment, archive: Archive) -> int:
    """Write the maps of a running server down; returns the position from which on they are true.

    Of maps that follow one another and say the same, the first and the last are kept.
    """
    before = kept(archive)
    found = take(environment)
    for one in found:
        earlier = [known for known in before if known.oid == one.oid][-2:]
        if len(earlier) > 1 and all(_same(known, one) for known in earlier):
            _path(archive, earlier[-1]).unlink(missing_ok=True)
        write(archive, one)
    return max(one.end for one in found)


def keep_if_possible(environment: Environment, archive: Archive) -> None:
    """As `keep`, and nothing where a database cannot be asked: nothing else is to fail for want of a name."""
    with suppress(NotReadyError, psycopg.Error):
        keep(environment, archive)


def write(archive: Archive, found: Map) -> None:
    """Write one map down."""
    folder = archive.folder / FOLDER
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_atomic(_path(archive, found), json.dumps(asdict(found), separators=(",", ":")) + "\n")


def kept(archive: Archive) -> list[Map]:
    """The maps that were written down, in the order of timeline and position.

    A damaged one is left out: tables may stay unnamed without it, and nobody's restore is to fail for that.
    """
    return [found for found in map(_read, _paths(archive)) if found]


def prune(archive: Archive, position: int) -> int:
    """Remove the maps from before a position that nobody can go back behind; returns how many.

    The newest of them stays, by timeline and database: it names what was changed from the position on.
    """
    old: dict[tuple[int, int], list[Map]] = {}
    for one in kept(archive):
        if one.end <= position:
            old.setdefault((one.timeline, one.oid), []).append(one)
    going = [one for maps in old.values() for one in maps[:-1]]
    for one in going:
        _path(archive, one).unlink(missing_ok=True)
    return len(going)


def damaged(archive: Archive) -> list[Path]:
    """Maps that cannot be read, and files that are none."""
    folder = archive.folder / FOLDER
    strange = set(folder.glob("[!.]*")) - set(_paths(archive)) if folder.is_dir() else set()
    return sorted([*strange, *(path for path in _paths(archive) if not _read(path) and path.exists())])


def _paths(archive: Archive) -> list[Path]:
    folder = archive.folder / FOLDER
    return sorted(folder.glob("????????-????????????????-*.json")) if folder.is_dir() else []


def _read(path: Path) -> Map | None:
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        files = {int(node): Relation(**relation) for node, relation in raw.pop("files").items()}
        return Map(**{**raw, "running": tuple(raw["running"])}, files=files)
    except (FileNotFoundError, ValueError, TypeError, KeyError, AttributeError):  # gone since: pruned
        return None


def _path(archive: Archive, found: Map) -> Path:
    return archive.folder / FOLDER / f"{found.timeline:08X}-{found.end:016X}-{found.oid}.json"


def _same(one: Map, other: Map) -> bool:
    return (one.files, one.name, one.timeline) == (other.files, other.name, other.timeline)


def _position(connection: Connection) -> tuple[int, int]:
    rows = connection.execute(_WHERE).fetchall()
    lsn, name = rows[0]
    return parse_lsn(str(lsn)), int(str(name)[:8], 16)
