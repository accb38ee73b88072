"""The moments at which a kill hurts most, listed in one place: tests end the process at each of them."""

from __future__ import annotations

import os
import signal
from enum import StrEnum

from drydock import settings


class Point(StrEnum):
    """Each is reached when what it says has just been done."""

    BACKUP_BEGUN = "backup: folder made"
    BACKUP_DUMPED = "backup: dumped"
    BACKUP_DESCRIBED = "backup: manifest written"
    BACKUP_NAMED = "backup: folder named"
    VERIFY_CREATED = "verify: scratch database created"
    VERIFY_LOADED = "verify: loaded"
    VERIFY_PROVEN = "verify: proof written"
    PUSH_CHECKED = "push: hashes checked"
    PUSH_OBJECT_SENT = "push: an object sent"
    PUSH_FILES_SENT = "push: files sent"
    PUSH_PROOF_SENT = "push: proof sent"
    PUSH_DONE = "push: manifest sent"
    PULL_BEGUN = "pull: folder made"
    PULL_PIECE_WRITTEN = "pull: a piece written"
    PULL_CHECKED = "pull: hashes checked"
    PULL_FILE_REPAIRED = "pull: a damaged file replaced"
    PULL_DESCRIBED = "pull: manifest written"
    PULL_NAMED = "pull: folder named"
    RESTORE_FILES_CHECKED = "restore: files checked"
    RESTORE_BEGUN = "restore: leftovers cleared"
    RESTORE_LOADED = "restore: loaded"
    RESTORE_CHECKED = "restore: checked"
    RESTORE_SWAPPED = "restore: swapped"
    RESTORE_REDIS_DONE = "restore: Redis done"
    DATABASES_SWAPPED = "databases: swapped"
    SEAL_PACKED = "seal: segment packed"
    SEAL_NAMED = "seal: segment named"
    SEAL_RECORDED = "seal: segment in the catalogue"
    SEAL_REMOVED = "seal: plain segment removed"
    BASE_BEGUN = "base: folder made"
    BASE_WRITTEN = "base: files written"
    BASE_DESCRIBED = "base: description written"
    BASE_NAMED = "base: folder named"
    BASE_UNPACKED = "base: unpacked to be verified"
    BASE_PROVEN = "base: proof written"
    EXPIRE_FORGOTTEN = "expire: segments out of the catalogue"
    EXPIRE_REMOVED = "expire: segments removed"
    REWIND_NOTED = "rewind: noted"
    REWIND_CREATED = "rewind: volume created"
    REWIND_FILLING = "rewind: filling"
    REWIND_FILLED = "rewind: filled"
    REWIND_PAUSED = "rewind: paused"
    BRANCH_WRITTEN = "branch: written down"
    SWAP_SLOT_MADE = "swap: slot made"
    SWAP_PROMOTED = "swap: promoted"
    SWAP_PART_BEGUN = "swap: part of the archive begun"
    SWAP_BESIDE_ENDED = "swap: server beside ended"
    SWAP_STOPPED = "swap: old servers stopped"
    SWAP_SWITCHED = "swap: switched"
    SWAP_STARTED = "swap: started"
    MARK_POINT_MADE = "mark: restore point made"
    MARK_PROVEN = "mark: proven"
    MARK_WRITTEN = "mark: written"
    CHANGE_MARKED = "change: mark made"
    CHANGE_BEGUN = "change: journal says it has begun"
    CHANGE_MADE = "change: data changed"
    CHANGE_FINISHED = "change: journal says it is finished"


def reached(point: Point) -> None:
    """End this process at once (SIGKILL) where DRYDOCK_KILL_AT names the point; otherwise nothing."""
    if settings.kill_at() == point:
        os.kill(os.getpid(), signal.SIGKILL)
