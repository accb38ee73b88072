"""Positions, segments and timelines: names as Postgres has them, and the arithmetic behind them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drydock.errors import DrydockError, SettingsError
from drydock.recovery.wal import positions
from drydock.recovery.wal.positions import SEGMENT_SIZE, Segment

LSNS = st.integers(min_value=0, max_value=(1 << 64) - 1)
HISTORY = "1\t0/3000148\tbefore 2026-11-21 10:00:00+00\n\n2\t0/5000000\tno recovery target specified\n"


@given(LSNS)
def test_positions_are_read_as_they_are_written(lsn: int) -> None:
    """A position survives being written the way Postgres writes it."""
    assert positions.parse_lsn(positions.format_lsn(lsn)) == lsn


@pytest.mark.parametrize("text", ["", "0", "0/", "/0", "0/1G", "0/123456789", "-1/0", "0x1/2", "1/2/3"])
def test_what_is_no_position_is_refused(text: str) -> None:
    """The error shows how a position is written."""
    with pytest.raises(SettingsError, match="no"):
        positions.parse_lsn(text)


@given(st.integers(1, 0xFFFFFFFF), st.integers(0, (1 << 40) - 1))
def test_segments_are_found_by_their_names(timeline: int, number: int) -> None:
    """A segment survives being written as its file's name, whose order is that of segments."""
    segment = Segment(timeline, number)
    assert positions.segment_named(segment.name) == segment
    assert positions.segment_at(timeline, segment.start) == positions.segment_at(timeline, segment.end - 1) == segment
    assert (Segment(timeline, number + 1).name > segment.name) or number == (1 << 40) - 1


def test_segment_names_are_those_of_postgres() -> None:
    """As `SELECT pg_walfile_name('1/FF000028')` says on timeline 1."""
    assert positions.segment_at(1, positions.parse_lsn("1/FF000028")).name == "0000000100000001000000FF"
    assert positions.segment_at(26, positions.parse_lsn("0/0")).name == "0000001A0000000000000000"


def test_a_history_file_is_a_line_of_descent() -> None:
    """Each timeline reaches to where the next one left it."""
    descent = positions.parse_history(3, HISTORY)
    assert descent.timeline == 3
    assert [descent.timeline_at(positions.parse_lsn(at)) for at in ("0/0", "0/3000147", "0/3000148", "0/5000000")] == [
        1,
        1,
        2,
        3,
    ]
    assert descent.holds(1, positions.parse_lsn("0/3000148"))
    assert not descent.holds(1, positions.parse_lsn("0/3000149"))
    assert not descent.holds(4, 0)


def test_the_segment_of_a_switch_is_read_from_the_newer_timeline() -> None:
    """Its file repeats what the older timeline had before the switch."""
    descent = positions.parse_history(3, HISTORY)
    found = list(descent.segments(positions.parse_lsn("0/2000028"), positions.parse_lsn("0/5000100")))
    assert found == [Segment(1, 2), Segment(2, 3), Segment(2, 4), Segment(3, 5)]


def test_a_segment_has_the_names_of_the_timelines_left_within_it() -> None:
    """Not of one that was left at its beginning, nor of those on which it is not read."""
    third, fourth = 3 * SEGMENT_SIZE, 4 * SEGMENT_SIZE
    ends = [(1, third), (2, third + 100), (5, third + 100), (6, fourth), (7, fourth + 8)]
    text = "".join(f"{timeline}\t{positions.format_lsn(end)}\tr\n" for timeline, end in ends)
    descent = positions.parse_history(8, text)
    assert list(descent.left_within(Segment(6, 3))) == [Segment(2, 3), Segment(5, 3)]
    assert list(descent.left_within(Segment(7, 3))) == [Segment(2, 3), Segment(5, 3), Segment(6, 3)]
    assert list(descent.left_within(Segment(2, 3))) == []
    assert list(descent.left_within(Segment(8, 4))) == [Segment(7, 4)]
    assert list(descent.left_within(Segment(1, 2))) == []


def test_a_stretch_ends_before_its_end() -> None:
    """A restore that ends where a segment ends needs no further one."""
    descent = positions.parse_history(1, "")
    assert list(descent.segments(SEGMENT_SIZE, 2 * SEGMENT_SIZE)) == [Segment(1, 1)]
    assert list(descent.segments(SEGMENT_SIZE, SEGMENT_SIZE)) == [Segment(1, 1)]


@pytest.mark.parametrize("text", ["x 0/1 no", "1", "1 zero", "2 0/1\n1 0/2", "1 0/2\n2 0/1", "3 0/1"])
def test_damaged_histories_are_refused(text: str) -> None:
    """Lines that are none, or in no order, are never guessed at."""
    with pytest.raises(DrydockError, match=r"00000003\.history is damaged"):
        positions.parse_history(3, text)


def test_a_segment_says_whose_it_is() -> None:
    """The header gives the system identifier, the timeline and the position; anything else is no segment."""
    page = positions._HEADER.pack(
        positions.PAGE_MAGIC, 2, 1, 0x3000000, 0, 7_555_000_111_222_333_444, SEGMENT_SIZE, 8192
    )
    assert positions.read_header(page + b"rest") == positions.Header("7555000111222333444", 1, 0x3000000)
    assert positions.read_header(page[:39]) is None
    assert positions.read_header(b"\0" * 100) is None
    assert positions.read_header(b"\x14" + page[1:]) is None
