"""Reading the whole archive again: is everything there, is it what was written, and does one piece follow the other?

Nothing is taken from a name alone: sealed files are compared with their hashes, every page of WAL with the position and
timeline that it says itself, every record with its checksum (pg_waldump), and what should be there with what the
catalogue, the histories, base backups and marks say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from drydock.backup import packing
from drydock.errors import DrydockError, word
from drydock.recovery.archive import laying_out, lives, marks
from drydock.recovery.archive.catalogue import Catalogue
from drydock.recovery.archive.folders import PART_FILE, PART_NAME, SEALED
from drydock.recovery.bases import base, base_manifest
from drydock.recovery.bases.base_tar import Looking
from drydock.recovery.history import relations
from drydock.recovery.upkeep import retention
from drydock.recovery.upkeep.audit_part import ENTERED, FOREIGN, Files, Finding
from drydock.recovery.wal.positions import SEGMENT_SIZE, parse_history, parse_lsn

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from drydock.backup.encryption import Sealing
    from drydock.recovery.archive.folders import Archive, Part
    from drydock.recovery.bases.base import Base
    from drydock.recovery.wal.positions import Descent

# The catalogue, the index of transactions and the order of lives, with what SQLite keeps beside its files.
KEPT = {
    *(f"{name}.sqlite{suffix}" for name in ("catalogue", "history") for suffix in ("", "-wal", "-shm")),
    lives.FILE,
}
UNREADABLE = "it cannot be read: `invoke history` may leave tables of that time unnamed"
UNKNOWN = "it was missing or damaged and has been made anew, so that lost files may go unnoticed"
RESTORED = "nothing that depends on it can be restored; invoke backup.base begins a new chain"


@dataclass(frozen=True, kw_only=True)
class Scope:
    """What an audit goes by.

    Attributes:
        archive: whose.
        sealing: whether there is a key to look into encrypted files; without it only their hashes are compared.
        writing: the part that is being written; empty where none is.
        received: the position up to which that part must hold the WAL; 0 where nobody can say.
    """

    archive: Archive
    sealing: Sealing
    writing: str = ""
    received: int = 0


def audit(scope: Scope, report: Callable[[str], None]) -> list[Finding]:
    """Everything that is wrong; an empty list says that all that was archived is there, and is what was written.

    Args:
        scope: what is to be read.
        report: takes a line per part and base backup.
    """
    archive, found = scope.archive, list[Finding]()
    known = Catalogue(archive)
    if known.new:
        found.append(Finding(str(archive.catalogue), UNKNOWN, ENTERED))
    try:
        parts = archive.parts()
    except DrydockError as error:
        return [*found, Finding(str(archive.folder), error.message, error.hint)]
    try:
        descents = _descents(scope)
    except DrydockError as error:
        return [*found, Finding(str(archive.folder), error.message, RESTORED)]
    usable = []
    for path in base.folders(archive):
        report(f"base backup {path.name}")
        problem = base_problem(scope, path)
        found += [Finding(str(path), problem, "invoke backup.base")] if problem else []
        usable += [] if problem else [base.read(archive, path)]
    found += _missing_bases(archive, known) + _same_twice(usable)
    for part in parts:
        report(f"part {part.name}")
        files = Files(archive, part, known.rows(part.name), scope.sealing, descents)
        found += files.findings(being_written=part.name == scope.writing)
        found += [] if known.new else files.unknown()
        first, last = _span(scope, part, parts, usable)
        found += files.gaps(first, last)
    return found + _strange(archive, parts)


def _descents(scope: Scope) -> dict[int, Descent | None]:
    """Where the timelines come from that have a history; None where that is encrypted and there is no key."""

    def read(path: Path) -> str | None:
        closed = path.name.endswith(SEALED) and scope.sealing.identity is None
        return None if closed else laying_out.text(path, scope.sealing)

    found: dict[int, Descent | None] = {}
    for timeline, copies in laying_out.histories(scope.archive, read).items():
        texts = [text for text in copies if text is not None]
        found[timeline] = parse_history(timeline, texts[0]) if texts else None
    return found


def base_problem(scope: Scope, path: Path) -> str:
    """What is wrong with a base backup, read from its first byte to its last; empty where nothing is.

    One that proves damaged counts as such from then on, as where a restore finds it out.
    """
    try:
        found = base.read(scope.archive, path)
    except DrydockError as error:
        return error.message
    try:
        if found.manifest.recipients and scope.sealing.identity is None:
            name = base.sealed_name(found.manifest)
            packing.verify(path / name, found.manifest.files[name])
            return ""
        with base.unpacked(found, scope.sealing) as stream:
            looking = Looking(stream, lambda _done: None)
            while looking.read(packing.CHUNK):
                pass
        span = looking.span()
    except DrydockError as error:
        _note(scope.archive, path, error.message)
        return error.message
    if (span.timeline, span.start, span.stop) != (found.timeline, found.start, found.stop):
        return "it holds another backup than it says"
    extra = {file.name for file in path.iterdir()} - {*found.manifest.files, *base_manifest.OWN}
    if extra:
        return f"{', '.join(sorted(extra))} does not belong to it"
    return "" if found.proof else "it is unproven"


def _note(archive: Archive, path: Path, reason: str) -> None:
    """Have a base backup count as damaged, where it is: with another key than its own a sound one cannot be read."""
    try:
        base.refuse_damaged(archive, path.name)
    except base.DamagedBaseError:
        base_manifest.note_damage(path, reason)


def _missing_bases(archive: Archive, known: Catalogue) -> list[Finding]:
    there = {path.name for path in base.folders(archive)}
    return [
        Finding(str(archive.bases / name), "it is missing", "invoke backup.base")
        for name in known.bases()
        if name not in there
    ]


def _same_twice(bases: list[Base]) -> list[Finding]:
    seen: dict[str, str] = {}
    found = []
    for one in bases:
        before = seen.setdefault(one.manifest.identity, one.name)
        if before != one.name:
            found.append(Finding(str(one.path), f"it is a copy of {before}", f"rm -r {word(one.path)}"))
    return found


def _span(scope: Scope, part: Part, parts: list[Part], bases: list[Base]) -> tuple[int, int]:
    """The numbers of the first and the last segment that must be in a part; the last below the first where none must.

    First: what its oldest base backup starts in, or its beginning where it goes on from what is there. Last: what base
    backups, marks, the parts that go on from it and the server say.
    """
    stretches = retention.stretches(parts)
    here = next(one for one in stretches if one.name == part.name)
    candidates = [retention.candidate(one, good=True) for one in bases]
    reached = retention.reachable(stretches, candidates)
    if part.name not in reached and part.name != scope.writing:
        return 1, 0
    own = [one for one in bases if one.part == part.name]
    children = [one for one in stretches if one.parent == part.name]
    last = [
        *(one.stop for one in own),
        *(parse_lsn(mark.lsn) for mark in _marks(scope.archive) if mark.part == part.name),
        *(one.number * SEGMENT_SIZE for one in children),
        *([scope.received] if part.name == scope.writing and scope.received else []),
    ]
    return reached.get(part.name) or here.number, (max(last) - 1) // SEGMENT_SIZE if last else 0


def _marks(archive: Archive) -> list[marks.Mark]:
    try:
        return marks.every(archive)
    except DrydockError:
        return []  # which one is damaged, _strange tells


def _strange(archive: Archive, parts: list[Part]) -> list[Finding]:
    """What lies where only the archive's own files belong, and the lives, marks and maps that cannot be read."""
    belong = {*(part.name for part in parts), *KEPT, archive.marks.name, relations.FOLDER}
    found = []
    for path in sorted(archive.folder.iterdir()) if archive.folder.is_dir() else []:
        if PART_NAME.fullmatch(path.name) and path.name not in belong:
            found.append(Finding(str(path), f"it has no {PART_FILE}", RESTORED))
        elif path.name not in belong and not path.name.startswith("."):
            found.append(Finding(str(path), FOREIGN, f"rm -r {word(path)}, once you know what it is"))
    try:
        lives.lives(archive)
    except DrydockError as error:
        found.append(Finding(str(archive.folder / lives.FILE), error.message, error.hint))
    for path in sorted(archive.marks.glob("[!.]*.json")):
        try:
            marks.find(archive, path.stem)
        except DrydockError as error:
            found.append(Finding(str(path), error.message, error.hint))
    return found + [Finding(str(path), UNREADABLE, f"rm {word(path)}") for path in relations.damaged(archive)]
