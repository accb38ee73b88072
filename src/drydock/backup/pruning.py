"""Taking away the backups that no rule keeps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from drydock.backup import retention
from drydock.backup.retention import Candidate, Policy, Worth
from drydock.errors import DrydockError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import tzinfo

    from drydock.backup.catalogue import Catalogue, Entry
    from drydock.settings import Settings


@dataclass
class Pruning:
    """What stays and why, what goes, and what could not be judged; each newest first.

    Attributes:
        kept: entries with their reasons.
        removed: entries that go.
        broken: entries that cannot be read, with the problem. They stay: what is wrong with them may be put right.
    """

    kept: list[tuple[Entry, list[str]]] = field(default_factory=list)
    removed: list[Entry] = field(default_factory=list)
    broken: list[tuple[Entry, str]] = field(default_factory=list)

    @property
    def freed(self) -> int:
        """Bytes that the removed ones take on disk."""
        return sum(entry.manifest.size for entry in self.removed if entry.manifest)


def policy(settings: Settings) -> Policy:
    """How many the settings keep."""
    return Policy(
        last=settings.backup_keep_last,
        daily=settings.backup_keep_daily,
        weekly=settings.backup_keep_weekly,
        monthly=settings.backup_keep_monthly,
    )


def plan(newest_first: Sequence[Entry], policy: Policy, zone: tzinfo | None = None) -> Pruning:
    """Judge every entry; changes nothing.

    Args:
        newest_first: as `Catalogue.entries` gives them.
        policy: how many to keep.
        zone: whose days; the host's by default.
    """
    result = Pruning()
    judged: list[tuple[Entry, Candidate]] = []
    for entry in newest_first:
        try:
            judged.append((entry, _candidate(entry)))
        except DrydockError as error:
            result.broken.append((entry, error.message))
    reasons = retention.reasons([candidate for _, candidate in judged], policy, zone)
    for entry, candidate in judged:
        if reasons[candidate.name]:
            result.kept.append((entry, reasons[candidate.name]))
        else:
            result.removed.append(entry)
    return result


def prune(catalogue: Catalogue, policy: Policy) -> Pruning:
    """Remove what no rule keeps, oldest first: a kill on the way leaves the newer ones."""
    result = plan(catalogue.entries(), policy)
    for entry in reversed(result.removed):
        catalogue.remove(entry)
    catalogue.clear_leftovers()
    return result


def _candidate(entry: Entry) -> Candidate:
    manifest = entry.manifest
    if manifest is None:
        raise DrydockError(entry.problem)
    try:
        made = manifest.moment
    except ValueError as error:
        raise DrydockError(f"It does not say when it was made: {error}.") from error
    return Candidate(
        name=entry.name,
        made=made,
        worth=_worth(entry),
        origin=manifest.origin,
        pinned=entry.pinned,
    )


def _worth(entry: Entry) -> Worth:
    assert entry.manifest is not None
    if entry.manifest.partial:
        return Worth.PARTIAL
    return Worth.PROVEN if entry.proof else Worth.UNPROVEN
