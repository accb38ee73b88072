"""Which kept volumes stay: what undo and redo go back to, within the budget, and never without the newest way back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from drydock.recovery.way_back.journal import Entry, Journal, Kind
from drydock.recovery.way_back.volumes import Kept, judge


def entry(incarnation: int, kind: Kind = Kind.CLUSTER) -> Entry:
    """An entry whose other side is the cluster of an incarnation."""
    return Entry(
        id=f"e{incarnation}",
        task="restore --at",
        when="2026-11-21T10:00:00+00:00",
        kind=kind,
        incarnation=incarnation,
        mark="m",
    )


def kept(*incarnations: int, size: int = 10) -> list[Kept]:
    """Volumes of one size."""
    return [Kept(incarnation, f"postgres-16-{incarnation}", size) for incarnation in incarnations]


def staying(volumes: list[Kept], journal: Journal, budget: int) -> list[int]:
    """The incarnations that stay."""
    return sorted(v.volume.incarnation for v in judge(volumes, journal, budget) if v.stays)


def test_what_nobody_needs_goes() -> None:
    """A volume that neither side of the journal names goes, and one that a change in place names as well."""
    journal = Journal(undo=(entry(1), entry(2, Kind.IN_PLACE)), redo=(entry(4),))
    assert staying(kept(1, 2, 3, 4), journal, 1000) == [1, 4]
    reasons = {v.volume.incarnation: v.reason for v in judge(kept(1, 3), journal, 1000)}
    assert reasons[1] == f"undo of the {entry(1).title} leads to it"
    assert "neither undo nor redo" in reasons[3]


def test_the_soonest_needed_stay_within_the_budget() -> None:
    """Of three levels of undo two fit: the two that would be gone back to first."""
    journal = Journal(undo=(entry(1), entry(2), entry(3)))
    assert staying(kept(1, 2, 3), journal, 20) == [2, 3]
    assert "RECOVERY_DISK" in next(v.reason for v in judge(kept(1, 2, 3), journal, 20) if not v.stays)


def test_the_newest_way_back_stays_without_any_budget() -> None:
    """However large it is."""
    assert staying(kept(1, 2), Journal(undo=(entry(1), entry(2)), redo=(entry(5),)), 0) == [2]


@given(
    undo=st.lists(st.integers(1, 6), unique=True),
    redo=st.lists(st.integers(7, 9), unique=True),
    sizes=st.dictionaries(st.integers(1, 9), st.integers(0, 20)),
    budget=st.integers(0, 60),
)
def test_every_volume_is_judged_once(undo: list[int], redo: list[int], sizes: dict[int, int], budget: int) -> None:
    """What stays is needed and fits beside the newest way back; what goes that is needed would not have fitted."""
    journal = Journal(undo=tuple(map(entry, undo)), redo=tuple(map(entry, redo)))
    found = judge([Kept(n, str(n), size) for n, size in sizes.items()], journal, budget)
    assert sorted(v.volume.incarnation for v in found) == sorted(sizes)
    stays = {v.volume.incarnation for v in found if v.stays}
    newest = set(undo[-1:]) & set(sizes)
    assert newest <= stays <= set(undo + redo)
    used = sum(sizes[n] for n in stays)
    assert used <= max(budget, sum(sizes[n] for n in newest))
    assert all(used + sizes[n] > budget for n in (set(undo + redo) & set(sizes)) - stays)
