"""Segments as PostgreSQL 16 writes them, made here: every page with its header, and content that packs badly."""

from __future__ import annotations

import hashlib
import struct
from typing import TYPE_CHECKING

from drydock.recovery.archive.folders import Part
from drydock.recovery.wal.positions import PAGE_MAGIC, SEGMENT_SIZE

if TYPE_CHECKING:
    from pathlib import Path

    from drydock.recovery.archive.folders import Archive
    from drydock.recovery.wal.positions import Descent, Segment

SYSTEM = "7555000111222333444"
PAGE = 8192
PAGES = SEGMENT_SIZE // PAGE
_NOISE = hashlib.sha512(b"noise").digest()


def content(segment: Segment, *, pages: int = PAGES, system: str = SYSTEM, descent: Descent | None = None) -> bytes:
    """A segment whose first `pages` pages are written, the others zeros; a page's timeline is by `descent`."""
    made = bytearray(SEGMENT_SIZE)
    for number in range(pages):
        offset = number * PAGE
        position = segment.start + offset
        timeline = descent.timeline_at(position) if descent else segment.timeline
        struct.pack_into("=HHIQI", made, offset, PAGE_MAGIC, 2 if number == 0 else 0, timeline, position, 0)
        if number == 0:
            struct.pack_into("=QII", made, offset + 24, int(system), SEGMENT_SIZE, PAGE)
        made[offset + 64 : offset + 128] = _NOISE
    return bytes(made)


def begin(archive: Archive, name: str = "1", **more: object) -> Path:
    """A part's folder."""
    facts = {
        "incarnation": int(name.partition(".")[0]),
        "timeline": 1,
        "start": "0/1000000",
        "begun": "2026-11-21T10:00:00+00:00",
        "reason": "first start",
        **more,
    }
    return archive.begin(Part(system_identifier=archive.system_identifier, name=name, **facts))  # type: ignore[arg-type]


def write(folder: Path, segment: Segment, suffix: str = "", **more: int) -> Path:
    """A segment's file in a part's folder."""
    path = folder / f"{segment.name}{suffix}"
    path.write_bytes(content(segment, **more))  # type: ignore[arg-type]
    return path
