"""Which marks can still be restored to: retention removes the base backups and the WAL that led to the others."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from drydock.errors import DrydockError
from drydock.recovery.archive import marks
from drydock.recovery.bases import base
from drydock.recovery.upkeep import retention
from drydock.recovery.wal.positions import parse_lsn

if TYPE_CHECKING:
    from drydock.recovery.archive.folders import Archive
    from drydock.recovery.archive.marks import Mark


def expired(archive: Archive) -> frozenset[str]:
    """The names of the marks that no base backup leads to any more, told by descriptions alone: lists are to be fast.

    Where the description of a part or mark is damaged none is named: what is damaged, the restore itself says.
    """
    with suppress(DrydockError):
        usable = [one for one in base.bases(archive) if not one.damage]
        reached = _reached(archive, usable)
        return frozenset(mark.name for mark in marks.every(archive) if not _leads_to(mark, usable, reached))
    return frozenset()


def _reached(archive: Archive, usable: list[base.Base]) -> dict[str, int]:
    candidates = [retention.candidate(one, good=True) for one in usable]
    return retention.reachable(retention.stretches(archive.parts()), candidates)


def _leads_to(mark: Mark, usable: list[base.Base], reached: dict[str, int]) -> bool:
    """A part that goes on from a part which can be reached (0) can be from its beginning; else from a backup's end."""
    own = [one.stop for one in usable if one.part == mark.part]
    return reached.get(mark.part) == 0 or min(own, default=parse_lsn(mark.lsn) + 1) <= parse_lsn(mark.lsn)
