"""Proving a backup: restored into a scratch database, and compared with what it was made of."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

from drydock.backup import catalogue, load, scratch
from drydock.backup import manifest as manifests
from drydock.backup.catalogue import Proof
from drydock.fault_points import Point, reached

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from drydock.backup.catalogue import Entry
    from drydock.environment import Environment

    Progress = Callable[[str, int, int], None]


def verify(environment: Environment, entry: Entry, *, now: datetime, progress: Progress) -> Proof:
    """Restore a backup beside everything else and compare: rows, checksums, sequences, every schema object.

    Raises:
        DamagedError: where one of its files is damaged, or what it restores to differs; it is unproven from then on.
        DrydockError: where it cannot be restored for another reason; it stays proven or unproven as it was.
    """
    with scratch.database(environment) as name:
        reached(Point.VERIFY_CREATED)
        loaded = load.load(environment, entry, name, progress)
        reached(Point.VERIFY_LOADED)
    assert entry.manifest is not None
    proof = Proof(
        manifest=manifests.digest(entry.manifest),
        when=now.isoformat(timespec="seconds"),
        tool=version("drydock"),
        restore_seconds=loaded.load_seconds,
        compare_seconds=loaded.compare_seconds,
    )
    catalogue.record_proof(entry, proof)
    reached(Point.VERIFY_PROVEN)
    return proof
