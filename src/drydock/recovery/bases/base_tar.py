"""The tar stream of pg_basebackup, looked into while it passes: where the backup begins and ends in the WAL."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from drydock.errors import DrydockError
from drydock.recovery.wal.positions import parse_lsn

if TYPE_CHECKING:
    from collections.abc import Callable

BLOCK = 512
LABEL, MANIFEST = "backup_label", "backup_manifest"
_BEGIN = re.compile(r"START WAL LOCATION: (\S+) .*?START TIMELINE: (\d+)", re.DOTALL)


@dataclass(frozen=True)
class Span:
    """The WAL that a base backup needs: the timeline, where it starts, and where the backup is consistent."""

    timeline: int
    start: int
    stop: int


class Looking:
    """A tar stream that is handed on as it is read, and whose members are noted on the way.

    Attributes:
        done: bytes handed on.
        ended: True once the archive's end came by.
        kept: the content of `backup_label` and `backup_manifest`.
    """

    def __init__(self, stream: BinaryIO, progress: Callable[[int], None]) -> None:
        self._stream = stream
        self._progress = progress
        self._block = bytearray()
        self._name = ""
        self._left = 0  # bytes of the member's content that are still to come, padding included
        self._size = 0
        self.done = 0
        self.ended = False
        self.kept: dict[str, bytearray] = {}

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes."""
        data = self._stream.read(size)
        self.done += len(data)
        self._look(data)
        self._progress(self.done)
        return data

    def span(self) -> Span:
        """Where the backup lies in the WAL: as its label says where it begins, and its manifest where it ends.

        Raises:
            DrydockError: where the stream ended before its time, or is not what pg_basebackup writes.
        """
        label = _BEGIN.search(self.kept.get(LABEL, b"").decode(errors="replace"))
        try:
            (wal,) = json.loads(self.kept[MANIFEST])["WAL-Ranges"]
            span = Span(int(wal["Timeline"]), parse_lsn(wal["Start-LSN"]), parse_lsn(wal["End-LSN"]))
        except (KeyError, ValueError, TypeError) as error:
            raise DrydockError("pg_basebackup wrote no manifest.", hint="invoke doctor; invoke logs") from error
        if not self.ended or not label or (parse_lsn(label[1]), int(label[2])) != (span.start, span.timeline):
            raise DrydockError("What pg_basebackup wrote is incomplete.", hint="invoke doctor; invoke logs")
        return span

    def _look(self, data: bytes) -> None:
        position = 0
        while position < len(data):
            if self._left:
                taken = min(self._left, len(data) - position)
                self._keep(data, position, taken)
                self._left -= taken
            else:
                taken = min(BLOCK - len(self._block), len(data) - position)
                self._block += data[position : position + taken]
                if len(self._block) == BLOCK:
                    self._begin(bytes(self._block))
                    self._block.clear()
            position += taken

    def _begin(self, block: bytes) -> None:
        """A member's header (ustar, as src/port/tar.c makes it): name, size in octal or base 256, and type."""
        if not any(block):
            self.ended = True
            return
        self._name = block[:100].rstrip(b"\0").decode(errors="replace")
        number = block[124:136]
        size = int.from_bytes(number[1:]) if number[0] & 0x80 else int(number.rstrip(b" \0") or b"0", 8)
        regular = block[156:157] in {b"0", b"\0"}
        self._size = size if regular else 0
        self._left = -(-self._size // BLOCK) * BLOCK
        if self._name in {LABEL, MANIFEST}:
            self.kept[self._name] = bytearray()

    def _keep(self, data: bytes, position: int, taken: int) -> None:
        kept = self.kept.get(self._name)
        if kept is not None:
            kept += data[position : position + min(taken, self._size - len(kept))]
