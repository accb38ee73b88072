"""Counts of rows that are added up in one number."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from drydock.recovery.history.row_counts import DELETED, INSERTED, UPDATED, pack, unpack

COUNTS = st.tuples(*[st.integers(-(1 << 30), 1 << 38)] * 3)


@given(COUNTS)
def test_they_come_out_as_they_went_in(counts: tuple[int, int, int]) -> None:
    """Also where one of them is negative."""
    assert unpack(pack(*counts)) == counts


@given(st.lists(st.tuples(*[st.integers(-1000, 1 << 20)] * 3), max_size=20))
def test_a_sum_is_the_sum_of_each(several: list[tuple[int, int, int]]) -> None:
    """What one kind of change adds up to says nothing of the others."""
    total = sum(pack(*counts) for counts in several)
    assert unpack(total) == tuple(sum(one) for one in zip(*several, strict=True)) if several else not total


def test_each_change_counts_once() -> None:
    """As the kinds of records are counted: two insertions of which one is taken back, three updates, a deletion."""
    assert unpack(INSERTED + INSERTED - INSERTED + 3 * UPDATED + DELETED) == (1, 3, 1)
