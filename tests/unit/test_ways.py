"""Which way leads back: the cheapest that is still open, and a sentence where none is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drydock.errors import RefusedError
from drydock.recovery.way_back.journal import Entry, Kind, Move
from drydock.recovery.way_back.ways import LEAVES, Situation, Way, choose


def entry(kind: Kind, *, incarnation: int = 1, mark: str = "m", unmarked: str = "") -> Entry:
    """An entry of that kind."""
    return Entry(
        id="e1",
        task="reset",
        when="2026-11-21T10:00:00+00:00",
        kind=kind,
        incarnation=incarnation,
        mark=mark,
        unmarked=unmarked,
    )


def situation(
    kept: str = "", volumes: frozenset[int] = frozenset(), marks: frozenset[str] = frozenset({"m"})
) -> Situation:
    """Incarnation 2 runs."""
    return Situation(incarnation=2, kept=kept, volumes=volumes, marks=marks)


@pytest.mark.parametrize(
    ("what", "there", "way"),
    [
        (entry(Kind.DATABASES), situation(kept="e1"), Way.DATABASES),
        (entry(Kind.DATABASES), situation(kept="e2"), Way.MARK),
        (entry(Kind.DATABASES), situation(), Way.MARK),
        (entry(Kind.DATABASES, mark=""), situation(kept="e1"), Way.DATABASES),
        (entry(Kind.CLUSTER), situation(volumes=frozenset({1})), Way.CLUSTER),
        (entry(Kind.CLUSTER), situation(volumes=frozenset({3})), Way.MARK),
        (entry(Kind.CLUSTER, mark=""), situation(volumes=frozenset({1})), Way.CLUSTER),
        (entry(Kind.CLUSTER, incarnation=2), situation(volumes=frozenset({2})), Way.MARK),
        (entry(Kind.IN_PLACE), situation(), Way.MARK),
        # What was kept is not what was before a change in place.
        (entry(Kind.IN_PLACE), situation(kept="e1", volumes=frozenset({1})), Way.MARK),
    ],
)
def test_the_cheapest_way_that_is_open(what: Entry, there: Situation, way: Way) -> None:
    """A kept database before a kept cluster before a restore, and each only where it holds just that state."""
    assert choose(Move.UNDO, what, there) is way


@pytest.mark.parametrize(
    ("what", "words"),
    [
        (
            entry(Kind.IN_PLACE, mark="", unmarked="WAL_ARCHIVE is off"),
            "The reset of 2026-11-2[012] .* cannot be undone: WAL_ARCHIVE",
        ),
        (entry(Kind.IN_PLACE, mark="gone"), "its mark is gone"),
        (entry(Kind.DATABASES, mark="gone"), "the database it kept was replaced by a later one, and its mark is gone"),
        (
            entry(Kind.CLUSTER, mark="", unmarked="the archiver does not run"),
            "the volume of incarnation 1 is gone, and the archiver",
        ),
    ],
)
def test_where_nothing_is_left_it_says_what_is_gone(what: Entry, words: str) -> None:
    """Refused with a sentence that names the change and what is missing."""
    with pytest.raises(RefusedError, match=words) as caught:
        choose(Move.UNDO, what, situation())
    assert caught.value.hint


ENTRIES = st.builds(
    Entry,
    id=st.sampled_from(["e1", "e2"]),
    task=st.just("seed"),
    when=st.just("2026-11-21T10:00:00+00:00"),
    kind=st.sampled_from(Kind),
    incarnation=st.integers(1, 4),
    mark=st.sampled_from(["", "m", "n"]),
)
SITUATIONS = st.builds(
    Situation,
    incarnation=st.integers(1, 4),
    kept=st.sampled_from(["", "e1", "e2"]),
    volumes=st.frozensets(st.integers(1, 4)),
    marks=st.frozensets(st.sampled_from(["m", "n"])),
)


@given(ENTRIES, SITUATIONS)
def test_a_way_is_only_taken_where_its_means_are_there(what: Entry, there: Situation) -> None:
    """Whatever is kept: no way without what it needs, and a refusal only where all three are closed."""
    opened = {
        Way.DATABASES: what.kind is Kind.DATABASES and there.kept == what.id,
        Way.CLUSTER: what.kind is Kind.CLUSTER
        and what.incarnation in there.volumes
        and what.incarnation != there.incarnation,
        Way.MARK: what.mark in there.marks,
    }
    try:
        assert opened[choose(Move.UNDO, what, there)]
    except RefusedError:
        assert not any(opened.values())


def test_a_redo_that_is_impossible_says_so() -> None:
    """In its own words."""
    with pytest.raises(RefusedError, match="cannot be done again"):
        choose(Move.REDO, entry(Kind.IN_PLACE, mark=""), situation())


def test_each_way_says_what_it_leaves() -> None:
    """The other way is open after each of them."""
    assert set(LEAVES) == set(Way)
    assert Kind.IN_PLACE not in LEAVES.values()
