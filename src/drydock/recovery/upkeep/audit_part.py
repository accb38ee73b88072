"""One part of the archive read again: each of its files, and whether they follow each other without a gap."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

from drydock.backup import encryption, packing
from drydock.errors import DrydockError, word
from drydock.recovery.archive.folders import PART_FILE, PARTIAL, plain_name
from drydock.recovery.wal import pages
from drydock.recovery.wal.positions import (
    HISTORY,
    SEGMENT_SIZE,
    Descent,
    Segment,
    Stretch,
    parse_history,
    segment_named,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from drydock.backup.encryption import Sealing
    from drydock.recovery.archive.catalogue import Row
    from drydock.recovery.archive.folders import Archive, Part

FOREIGN = "it does not belong here"
UNOPENED = "the catalogue does not know it, and there is no key to look into it"
ENTERED = "invoke down; invoke up: it enters again what is sound"
LOST = "what it held can no longer be restored; invoke backup.base begins a new chain"


@dataclass(frozen=True)
class Finding:
    """What is wrong with a file or folder, as a clause, and what to do about it."""

    where: str
    what: str
    fix: str = LOST


class Files:
    """The files of a part.

    Args:
        archive: whose.
        part: which.
        rows: what the catalogue knows of it.
        sealing: whether there is a key to look into encrypted files.
        descents: where the timelines come from that have a history; None where it cannot be looked into.
    """

    def __init__(
        self, archive: Archive, part: Part, rows: Sequence[Row], sealing: Sealing, descents: dict[int, Descent | None]
    ) -> None:
        self.archive = archive
        self.folder = archive.folder / part.name
        self.segments = archive.segments(part.name)
        self.rows = {row.file: row for row in rows}
        self.sealing = sealing
        self._unknown: list[str] = []
        self.descents = {1: Descent((Stretch(1, 0, None),)), **descents}

    def findings(self, *, being_written: bool) -> list[Finding]:
        """What is wrong with each file; in the part being written the newest one may be incomplete."""
        found = [
            Finding(str(self.folder / name), "it is missing")
            for name in self.rows
            if not (self.folder / name).exists() and not (being_written and name.endswith(PARTIAL))
        ]
        for path in sorted(self.folder.iterdir()):
            if path.name.startswith("."):
                continue
            problem = self._problem(path, being_written=being_written)
            if problem:
                fixes = {FOREIGN: f"rm {word(path)}, once you know what it is", UNOPENED: encryption.HINT}
                found.append(Finding(str(path), problem, fixes.get(problem, LOST)))
            elif plain_name(path.name) not in {"", path.name} and path.name not in self.rows:
                self._unknown.append(path.name)
        timelines = {one.segment.timeline for one in self.segments} - self.descents.keys()
        return found + [
            Finding(str(self.folder), f"the history of timeline {timeline} is missing")
            for timeline in sorted(timelines)
        ]

    def unknown(self) -> list[Finding]:
        """The packed files that `findings` read and found sound, and that the catalogue does not know: one line."""
        if not self._unknown:
            return []
        more = f" and {len(self._unknown) - 1} more" if len(self._unknown) > 1 else ""
        what = f"what can be read well is not in the catalogue: {self._unknown[0]}{more}"
        return [Finding(str(self.folder), what, ENTERED)]

    def gaps(self, first: int, last: int) -> list[Finding]:
        """The segments between two numbers that are there on no timeline."""
        there = {one.segment.number for one in self.segments}
        last = max([last, *there]) if last >= first else last
        timeline = max((one.segment.timeline for one in self.segments), default=1)
        missing = [number for number in range(first, last + 1) if number not in there]
        return [Finding(str(self.folder / Segment(timeline, number).name), "it is missing") for number in missing]

    def _problem(self, path: Path, *, being_written: bool) -> str:
        if path.name == PART_FILE:
            return self._unlike_entry(path)
        name = plain_name(path.name.removesuffix(PARTIAL))
        if not name:
            return FOREIGN
        if path.name.endswith(PARTIAL):
            return self._partial(path, name, being_written=being_written)
        try:
            content = self._content(path, name)
        except DrydockError as error:
            return error.message
        except FileNotFoundError:
            return ""  # sealed meanwhile
        return "" if content is None else self._wrong(content, name) or self._contradiction(path, name, content)

    def _content(self, path: Path, name: str) -> bytes | None:
        """What is in a file, which is the one the catalogue knows; None where it cannot be looked into."""
        if path.name == name:
            return path.read_bytes()
        row, target = self.rows.get(path.name), io.BytesIO()
        if row is not None:
            packing.verify(path, row.packed)
        if path.name.endswith(".age") and self.sealing.identity is None:
            if row is None:
                raise DrydockError(UNOPENED)
            return None
        packing.measure(path, target, self.sealing)
        return target.getvalue()

    def _wrong(self, content: bytes, name: str) -> str:
        if HISTORY.fullmatch(name):
            try:
                parse_history(int(name[:8], 16), content.decode())
            except (DrydockError, UnicodeDecodeError) as error:
                return str(error)
            return ""
        segment = segment_named(name)
        return pages.problem(content, segment, self.archive.system_identifier, self.descents.get(segment.timeline))

    def _contradiction(self, path: Path, name: str, content: bytes) -> str:
        """A plain file beside its packed form must be equal to it."""
        packed = [self.folder / row.file for row in self.rows.values() if plain_name(row.file) == name]
        if path.name != name or not packed or not packed[0].exists():
            return ""
        try:
            held = self._content(packed[0], name)
        except DrydockError:
            return ""  # told of that file itself
        return "" if held in {None, content} else f"it differs from {packed[0].name}"

    def _partial(self, path: Path, name: str, *, being_written: bool) -> str:
        if not being_written and (problem := self._unlike_entry(path)):
            return problem
        content = path.read_bytes() if path.exists() else b""
        if not content.strip(b"\0") and len(content) in {0, SEGMENT_SIZE}:
            return ""  # nothing was received yet
        segment = segment_named(name)
        later = [one for one in self.segments if one.segment > segment and one.segment.timeline == segment.timeline]
        return "it was never finished, though others after it were" if later else self._wrong(content, name)

    def _unlike_entry(self, path: Path) -> str:
        """What the catalogue says against a file that is kept as it is; nothing where it does not know it yet."""
        row = self.rows.get(path.name)
        try:
            if row is not None:
                packing.verify(path, row.packed)
        except DrydockError as error:
            return error.message
        return ""
