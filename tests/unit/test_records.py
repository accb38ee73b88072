"""WAL that is not what pg_waldump saw when it proved it."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest

from drydock.errors import DrydockError
from drydock.recovery.wal.positions import SEGMENT_SIZE, Segment
from drydock.recovery.wal.records import Records
from drydock.recovery.wal.waldump import LONG_HEADER, PAGE

if TYPE_CHECKING:
    from pathlib import Path

BTREE = 11  # a resource manager whose records are skipped


@pytest.mark.timeout(20)
@pytest.mark.parametrize("length", [0, 8, 23])
def test_a_record_shorter_than_its_header_is_an_error(tmp_path: Path, length: int) -> None:
    """Also one that would only be skipped: with no length, nothing would ever come after it."""
    segment = Segment(1, 1)
    page = struct.pack("=HHIQI", 0xD113, 0x0002, 1, segment.start, 0).ljust(LONG_HEADER, b"\0")
    record = struct.pack("=IIQBB", length, 0, 0, 0, BTREE)
    (tmp_path / segment.name).write_bytes((page + record).ljust(PAGE, b"\0").ljust(SEGMENT_SIZE, b"\0"))
    with pytest.raises(DrydockError, match="cannot be followed at 0/1000028"):
        list(Records(tmp_path, 1, segment.start, segment.end).stretches())
