"""Sealing: finished segments are checked, packed, hashed and entered in the catalogue, and only then removed plain.

The newest file of the part that is being written stays as it is: pg_receivewal finds in it where to go on
(FindStreamingStart). Killed at any moment, each segment is there plain or packed, or as both, which are equal.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from drydock.backup import encryption, packing, workspace
from drydock.backup.manifest import PackedFile
from drydock.errors import DrydockError
from drydock.fault_points import Point, reached
from drydock.files import sync_folder
from drydock.recovery.archive.catalogue import Catalogue, Row
from drydock.recovery.archive.folders import PACKED, PART_FILE, PARTIAL, Form, plain_name
from drydock.recovery.bases import base
from drydock.recovery.wal import pages
from drydock.recovery.wal.positions import HISTORY, NAME, segment_named

if TYPE_CHECKING:
    from pathlib import Path

    from drydock.backup.encryption import Sealing
    from drydock.recovery.archive.folders import Archive, Stored
    from drydock.settings import Settings

WORK = ".sealing-"


@dataclass
class Sealed:
    """What a run of sealing did.

    Attributes:
        segments: how many it sealed.
        before: bytes of them plain.
        after: bytes of them packed.
        refused: why a finished segment stays as it is, by its path: its content is not what its name says.
    """

    segments: int = 0
    before: int = 0
    after: int = 0
    refused: dict[Path, str] = field(default_factory=dict)


def seal(settings: Settings, archive: Archive, *, writing: str) -> Sealed:
    """Seal everything that is finished; what another run is sealing is waited for.

    Args:
        settings: whether and to whom files are encrypted.
        archive: whose.
        writing: the part that the archiver writes (`State.part`), whose newest file stays plain; of every other part
            what was never finished is entered in the catalogue as it is.

    Raises:
        DrydockError: where the catalogue cannot be used, or files cannot be encrypted.
        OSError: where the disk is full. Whatever was sealed by then stays sealed.
    """
    done = Sealed()
    if not archive.folder.is_dir():
        return done
    with workspace.held(archive.folder, wait=True):
        catalogue = Catalogue(archive)
        catalogue.enter_bases(one.name for one in base.bases(archive))
        work = _Work(archive, catalogue, encryption.sealing(settings), done)
        for part in archive.parts():
            work.seal_part(part.name, being_written=part.name == writing)
    return done


def wrong(content: bytes, name: str, system_identifier: str) -> str:
    """What is wrong with the content of a segment or a history file of this plain name; empty where nothing is."""
    if HISTORY.fullmatch(name):
        return "" if content and b"\0" not in content else "it is no history of a timeline"
    return pages.problem(content, segment_named(name), system_identifier)


@dataclass
class _Work:
    """One run of sealing."""

    archive: Archive
    catalogue: Catalogue
    sealing: Sealing
    done: Sealed

    def seal_part(self, part: str, *, being_written: bool) -> None:
        folder = self.archive.folder / part
        for path in folder.glob(f"{WORK}*"):  # what a killed run left
            path.unlink()
        known = {row.file: row.packed for row in self.catalogue.rows(part)}
        self._adopt(folder, known)
        plain = [stored for stored in self.archive.segments(part) if stored.form is not Form.SEALED]
        if being_written and plain:
            plain.remove(max(plain, key=_streaming_order))
        for stored in plain:
            if stored.form is Form.FINISHED:
                self._seal_segment(stored.path, known)
        self._seal_histories(folder, known, keep=being_written)
        self._enter_unfinished(folder, known, being_written=being_written)
        if PART_FILE not in known:
            self._enter_as_it_is(folder / PART_FILE)

    def _adopt(self, folder: Path, known: dict[str, PackedFile]) -> None:
        """Enter packed files that the catalogue does not know and that prove themselves: after a kill, or its loss.

        What cannot be opened, for want of the key or because it is damaged, stays unknown: `archive.verify` names it.
        """
        for path in sorted(folder.glob(f"*{PACKED}*")):
            name, content = plain_name(path.name), io.BytesIO()
            if path.name in known or not name or path.with_name(name).exists():
                continue  # a plain one beside it is packed again
            try:
                packed = packing.measure(path, content, self.sealing)
            except DrydockError:
                continue
            if not wrong(content.getvalue(), name, self.archive.system_identifier):
                self._enter(path, packed)

    def _seal_segment(self, plain: Path, known: dict[str, PackedFile]) -> None:
        content = plain.read_bytes()
        problem = wrong(content, plain.name, self.archive.system_identifier)
        held = None if problem else self._held(plain, content, known)
        if problem or held not in {None, content}:
            self.done.refused[plain] = problem or "the sealed one beside it holds something else"
            return
        if held is None:
            packed = self._pack(plain, content)
            self.done.segments += 1
            self.done.before += len(content)
            self.done.after += packed.size
        plain.unlink()
        reached(Point.SEAL_REMOVED)

    def _held(self, plain: Path, content: bytes, known: dict[str, PackedFile]) -> bytes | None:
        """What is in the packed form of a plain segment, where that is there, known and sound: a kill came late."""
        target, found = self._target(plain), io.BytesIO()
        expected = known.get(target.name)
        if expected is None:
            return None
        try:
            packing.verify(target, expected)
            if self.sealing.recipients and self.sealing.identity is None:
                return content  # it cannot be looked into, and is what was entered
            packing.unpack(target, found, expected, self.sealing)
        except DrydockError:
            return None
        return found.getvalue()

    def _pack(self, plain: Path, content: bytes) -> PackedFile:
        target = self._target(plain)
        work = plain.with_name(f"{WORK}{target.name}")
        try:
            packed = packing.pack(io.BytesIO(content), work, self.sealing)
            reached(Point.SEAL_PACKED)
            work.rename(target)
        finally:
            work.unlink(missing_ok=True)
        sync_folder(plain.parent)
        reached(Point.SEAL_NAMED)
        self._enter(target, packed)
        reached(Point.SEAL_RECORDED)
        return packed

    def _target(self, plain: Path) -> Path:
        return plain.with_name(self.sealing.name(plain.name + packing.SUFFIX))

    def _seal_histories(self, folder: Path, known: dict[str, PackedFile], *, keep: bool) -> None:
        """A history file is packed once. In the part being written it stays plain too: the archiver looks for it."""
        for path in sorted(folder.glob("*.history")):
            if plain_name(path.name) and self._target(path).name not in known:
                self._pack(path, path.read_bytes())
            if plain_name(path.name) and not keep:
                path.unlink()

    def _enter_unfinished(self, folder: Path, known: dict[str, PackedFile], *, being_written: bool) -> None:
        """What a part ends with is entered unpacked, until somebody goes on writing the part."""
        found = {path.name: path for path in folder.glob(f"*{PARTIAL}")}
        if being_written:
            self.catalogue.forget(folder.name, [name for name in known if name.endswith(PARTIAL)])
            return
        for name in found.keys() - known.keys():
            self._enter_as_it_is(found[name])

    def _enter_as_it_is(self, path: Path) -> None:
        content = path.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        self._enter(path, PackedFile(size=len(content), sha256=digest, unpacked=len(content)))

    def _enter(self, path: Path, packed: PackedFile) -> None:
        name = plain_name(path.name.removesuffix(PARTIAL))
        segment = segment_named(name) if NAME.fullmatch(name) else None
        row = Row(
            part=path.parent.name,
            file=path.name,
            timeline=int(name[:8] or "0", 16),
            number=segment.number if segment else None,
            packed=packed,
            sealed_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        self.catalogue.record([row])


def _streaming_order(stored: Stored) -> tuple[int, int, bool]:
    """The greatest is where pg_receivewal goes on (pg_receivewal.c, FindStreamingStart)."""
    return stored.segment.number, stored.segment.timeline, stored.form is Form.FINISHED
