"""Segments laid out for pg_waldump: plain, under their bare names, in a work folder."""

from __future__ import annotations

import io
import os
import shutil
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from drydock.backup import packing
from drydock.errors import DamagedError, DrydockError
from drydock.recovery.archive.folders import PARTIAL, Form, part_order, plain_name
from drydock.recovery.wal.positions import SEGMENT_SIZE, parse_history

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path
    from typing import BinaryIO

    from drydock.backup.encryption import Sealing
    from drydock.recovery.archive.folders import Archive, Stored
    from drydock.recovery.wal.positions import Descent, Segment

T = TypeVar("T")
VERIFY = "invoke archive.verify"
AGAIN = 3  # as often files are looked for that are being sealed meanwhile
_ORDER = (Form.PARTIAL, Form.FINISHED, Form.SEALED)


class DamagedSegmentError(DamagedError):
    """A segment's file cannot be unpacked, or is cut off: nothing of it is read."""

    def __init__(self, segment: Segment, message: str) -> None:
        super().__init__(message, hint=VERIFY)
        self.segment = segment


def pieces(archive: Archive) -> dict[int, list[list[Stored]]]:
    """The best copy of each segment, by timeline, in pieces that nothing is missing within."""
    best: dict[Segment, Stored] = {}
    for part in archive.parts():
        for stored in archive.segments(part.name):
            if stored.segment not in best or _goodness(stored) > _goodness(best[stored.segment]):
                best[stored.segment] = stored
    found: dict[int, list[list[Stored]]] = {}
    for segment in sorted(best):
        timeline = found.setdefault(segment.timeline, [])
        if not timeline or timeline[-1][-1].segment.number != segment.number - 1:
            timeline.append([])
        timeline[-1].append(best[segment])
    return found


def descents(archive: Archive, sealing: Sealing) -> dict[int, Descent]:
    """Where the timelines come from that have a history file.

    Raises:
        DrydockError: where one is damaged or cannot be decrypted.
    """
    texts = histories(archive, lambda path: text(path, sealing))
    return {timeline: parse_history(timeline, copies[0]) for timeline, copies in texts.items()}


def text(path: Path, sealing: Sealing) -> str:
    """What is in a history file, packed or plain.

    Raises:
        DamagedError: where it is damaged.
        DrydockError: where it cannot be decrypted.
    """
    content = io.BytesIO()
    unpack(path, content, sealing)
    return content.getvalue().decode()


def histories(archive: Archive, read: Callable[[Path], T]) -> dict[int, list[T]]:
    """What `read` makes of each history file, by timeline; one that is sealed meanwhile is read in its new form.

    One that cannot be decrypted counts for nothing where it lies plain beside, as in the part being written.

    Raises:
        FileNotFoundError: where one is gone.
    """

    def now() -> dict[int, list[T]]:
        return {timeline: list(_copies(paths, read)) for timeline, paths in archive.histories().items()}

    for _ in range(AGAIN):
        with suppress(FileNotFoundError):
            return now()
    return now()


def _copies(paths: Sequence[Path], read: Callable[[Path], T]) -> Iterator[T]:
    for path in paths:
        try:
            yield read(path)
        except DamagedError:
            raise
        except DrydockError:
            plain = path.with_name(plain_name(path.name))
            if plain == path or not plain.exists():
                raise


def lay_out(batch: Sequence[Stored], folder: Path, sealing: Sealing) -> None:
    """Make `folder` hold these segments and no others; those that are there already stay.

    Raises:
        DamagedSegmentError: where the file of one is damaged; those before it are there then.
        DrydockError: where one cannot be decrypted.
        FileNotFoundError: where one has just been sealed or removed.
    """
    wanted = {stored.segment.name: stored for stored in batch}
    for path in folder.iterdir():
        if path.name not in wanted:
            path.unlink()
    for name, stored in wanted.items():
        if not (folder / name).exists():
            try:
                _lay(stored, folder / name, sealing)
                _refuse_short(stored, folder / name)
            except BaseException as error:
                (folder / name).unlink(missing_ok=True)  # what is there of it would pass for the segment
                if isinstance(error, DamagedError):
                    raise DamagedSegmentError(stored.segment, error.message) from error
                raise


def unpack(path: Path, target: BinaryIO, sealing: Sealing) -> None:
    """Unpack a packed file of the archive into `target`.

    Raises:
        DamagedError: where it is damaged.
        DrydockError: where it cannot be decrypted.
    """
    try:
        packing.measure(path, target, sealing)
    except DamagedError as error:
        raise DamagedError(error.message, hint=VERIFY) from error


def _refuse_short(stored: Stored, laid: Path) -> None:
    """A packed file that is cut off unpacks without a word."""
    if PARTIAL not in stored.path.name and (size := laid.stat().st_size) != SEGMENT_SIZE:
        raise packing.damaged(stored.path, f"it holds {size} bytes instead of {SEGMENT_SIZE}")


def _lay(stored: Stored, target: Path, sealing: Sealing) -> None:
    if stored.form is Form.SEALED:
        with packing.open_private(target) as stream:
            unpack(stored.path, stream, sealing)
        return
    try:
        if stored.form is Form.PARTIAL:
            raise OSError("it is being written")  # noqa: TRY301 - as where the file system has no hard links
        os.link(stored.path, target)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copyfile(stored.path, target)


def _goodness(stored: Stored) -> tuple[int, tuple[int, int]]:
    """Sealed before finished before partial; of equals the one of the latest part, which is the longest."""
    return _ORDER.index(stored.form), part_order(stored.part)
