"""Where the WAL archive and the base backups of a cluster lie, and which file is what: found by name, never by time.

    backups/wal/<system id>/<part>/part.json                  which life of the cluster this is the WAL of
    backups/wal/<system id>/<part>/<segment>.partial          what the archiver is writing
    backups/wal/<system id>/<part>/<segment>                  finished
    backups/wal/<system id>/<part>/<segment>.zst[.age]        finished and sealed: packed, hashed, in the catalogue
    backups/wal/<system id>/<part>/<timeline>.history[.zst[.age]]
    backups/base/<system id>/<UTC time>/                      a base backup

A part is one uninterrupted piece of archive: `<incarnation>`, or `<incarnation>.<n>` where the archive of one
incarnation had to begin anew because WAL was lost. pg_receivewal never goes on in a folder whose newest segment the
server does not have (src/bin/pg_basebackup/pg_receivewal.c, FindStreamingStart), hence a folder for each.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from drydock.errors import DrydockError, word
from drydock.files import write_atomic
from drydock.recovery.wal.positions import HISTORY, NAME, Segment, segment_named

if TYPE_CHECKING:
    from pathlib import Path

    from drydock.checkout import Checkout
    from drydock.settings import Settings

PART_FILE = "part.json"
PART_NAME = re.compile(r"([1-9]\d*)(?:\.([1-9]\d*))?")
PARTIAL, PACKED, SEALED = ".partial", ".zst", ".age"


class Form(StrEnum):
    """What has become of a segment: being received, finished, or packed and in the catalogue."""

    PARTIAL = "partial"
    FINISHED = "finished"
    SEALED = "sealed"


@dataclass(frozen=True)
class Stored:
    """A segment in the archive: the part and the file it is in."""

    segment: Segment
    form: Form
    path: Path

    @property
    def part(self) -> str:
        """The part's name."""
        return self.path.parent.name


@dataclass(frozen=True, kw_only=True)
class Part:
    """What `part.json` says: written once, when the part begins.

    Attributes:
        system_identifier: of the cluster.
        name: of the folder.
        incarnation: whose WAL it is.
        timeline: on which it begins.
        start: the position from which on its WAL is there, such as `0/1000000`.
        begun: UTC, ISO 8601.
        reason: `first start`, `restored`, or what was lost before it.
        parent: the incarnation that was restored from; 0 for none.
        hole: True where WAL between the part before and this one is missing.
    """

    system_identifier: str
    name: str
    incarnation: int
    timeline: int
    start: str
    begun: str
    reason: str
    parent: int = 0
    hole: bool = False


class Archive:
    """The WAL archive of one cluster, which may have lived several times."""

    def __init__(self, settings: Settings, system_identifier: str) -> None:
        self.system_identifier = system_identifier
        self.folder = settings.backups / "wal" / system_identifier
        self.bases = settings.backups / "base" / system_identifier
        self.marks = self.folder / "marks"

    @property
    def catalogue(self) -> Path:
        """The SQLite file with the hashes of sealed segments."""
        return self.folder / "catalogue.sqlite"

    @property
    def history(self) -> Path:
        """The SQLite file with the transactions."""
        return self.folder / "history.sqlite"

    def begin(self, part: Part) -> Path:
        """Make the folder of a part that begins; nothing happens where it exists."""
        folder = self.folder / part.name
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        if not (folder / PART_FILE).exists():
            write_atomic(folder / PART_FILE, json.dumps(asdict(part), indent=1) + "\n")
        return folder

    def parts(self) -> list[Part]:
        """All parts, oldest first.

        Raises:
            DrydockError: where a part's description is damaged.
        """
        if not self.folder.is_dir():
            return []
        folders = [path for path in self.folder.iterdir() if PART_NAME.fullmatch(path.name)]
        found = [_read_part(path) for path in folders if (path / PART_FILE).exists()]
        return sorted(found, key=lambda part: part_order(part.name))

    def segments(self, part: str) -> list[Stored]:
        """The segments in a part, in the order of timeline and position; one of them may be there in two forms."""
        found = [_stored(path) for path in (self.folder / part).iterdir()]
        return sorted((stored for stored in found if stored), key=lambda stored: (stored.segment, stored.form))

    def owner_of(self, timeline: int) -> int:
        """The incarnation whose WAL a timeline is: of those with WAL of it the first; 0 where none has.

        A restored incarnation begins on the timeline of the one before it, which alone owns that.
        """
        parts = [one for one in self.parts() if any(s.segment.timeline == timeline for s in self.segments(one.name))]
        return min((one.incarnation for one in parts), default=0)

    def histories(self) -> dict[int, list[Path]]:
        """The files in which the history of a timeline is kept, by timeline."""
        found: dict[int, list[Path]] = {}
        for part in self.parts():
            for path in sorted((self.folder / part.name).glob("*.history*")):
                named = HISTORY.fullmatch(plain_name(path.name))
                if named:
                    found.setdefault(int(named[1], 16), []).append(path)
        return found


def plain_name(name: str) -> str:
    """The segment or history file that a complete file of a part is, sealed or not; empty for every other file."""
    stem = name.removesuffix(SEALED).removesuffix(PACKED)
    return stem if NAME.fullmatch(stem) or HISTORY.fullmatch(stem) else ""


def system_identifiers(settings: Settings) -> list[str]:
    """The clusters that have an archive or base backups in this backup folder."""
    folders = [settings.backups / "wal", settings.backups / "base"]
    names = {path.name for folder in folders if folder.is_dir() for path in folder.iterdir() if path.name.isdigit()}
    return sorted(names)


def part_order(name: str) -> tuple[int, int]:
    """Where a part stands among the others of its cluster; raises ValueError where it is no part's name."""
    found = PART_NAME.fullmatch(name)
    if not found:
        raise ValueError(name)
    return int(found[1]), int(found[2] or 1)


def part_name(incarnation: int, number: int = 1) -> str:
    """The name of an incarnation's first part, or of a further one."""
    return str(incarnation) if number == 1 else f"{incarnation}.{number}"


def part_folder(checkout: Checkout) -> Path:
    """Where the archiver of a checkout writes, whether it exists or not."""
    return Archive(checkout.settings, checkout.state.system_identifier).folder / checkout.state.part


def slot_name(part: str) -> str:
    """The replication slot that a part is received through: letters, digits and _ only (manual 27.2.6.1)."""
    return f"drydock_{part.replace('.', '_')}"


def _read_part(folder: Path) -> Part:
    path = folder / PART_FILE
    try:
        return Part(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        there, aside = word(folder), word(f"{folder}.damaged")
        without = f"without one the WAL beside it goes too: mv {there} {aside}; invoke down; invoke up"
        raise DrydockError(f"{path} is damaged: {error}.", hint=f"Put a copy of it back; {without}") from error


def _stored(path: Path) -> Stored | None:
    plain = path.name.removesuffix(SEALED).removesuffix(PACKED).removesuffix(PARTIAL)
    if not NAME.fullmatch(plain):
        return None
    if path.name.endswith(PARTIAL):
        form = Form.PARTIAL
    elif path.name == plain:
        form = Form.FINISHED
    else:
        form = Form.SEALED
    return Stored(segment_named(plain), form, path)
