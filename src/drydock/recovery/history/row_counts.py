"""Inserted, updated and deleted rows of a file in one number: to add them up is what an indexing does most.

Three lists of a number each per transaction cost a tenth of the whole indexing more, for what makes and frees them.
"""

from __future__ import annotations

_BITS = 40  # for each of the three; WAL with as many rows would fill years
_HALF, _MASK = 1 << (_BITS - 1), (1 << _BITS) - 1
INSERTED, UPDATED, DELETED = 1, 1 << _BITS, 1 << 2 * _BITS


def pack(inserted: int, updated: int, deleted: int) -> int:
    """Three counts in one; what is packed may be added and subtracted."""
    return inserted * INSERTED + updated * UPDATED + deleted * DELETED


def unpack(packed: int) -> tuple[int, int, int]:
    """Inserted, updated and deleted rows.

    One may be negative: a speculative insertion that was taken back, where its record is older than the WAL read.
    """
    inserted = _lowest(packed)
    packed = (packed - inserted) >> _BITS
    updated = _lowest(packed)
    return inserted, updated, (packed - updated) >> _BITS


def _lowest(packed: int) -> int:
    return ((packed + _HALF) & _MASK) - _HALF
