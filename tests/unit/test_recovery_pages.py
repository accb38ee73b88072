"""Every page of a segment says where it belongs: what was swapped, zeroed, cut off or of another cluster is told."""

from __future__ import annotations

import struct

import pytest

from drydock.recovery.wal import pages
from drydock.recovery.wal.positions import SEGMENT_SIZE, Segment, parse_history
from tests.wal_files import PAGE, PAGES, SYSTEM, content

HERE = Segment(1, 5)
# Timeline 2 began in the middle of segment 5.
FORK = HERE.start + 100 * PAGE + 5000
DESCENT = parse_history(2, f"1\t{FORK >> 32:X}/{FORK & 0xFFFFFFFF:X}\tno recovery target specified\n")


@pytest.mark.parametrize("written", [1, 2, 1000, PAGES])
def test_sound_segments_pass(written: int) -> None:
    """Full ones, and those whose end was left unused."""
    assert pages.problem(content(HERE, pages=written), HERE, SYSTEM) == ""


def test_a_segment_in_which_a_timeline_begins_passes() -> None:
    """Pages from before the fork are of the timeline before; with or without the descent."""
    forked = Segment(2, 5)
    data = content(forked, descent=DESCENT)
    assert pages.problem(data, forked, SYSTEM) == ""
    assert pages.problem(data, forked, SYSTEM, DESCENT) == ""


def zeroed(data: bytes, page: int) -> bytes:
    return data[: page * PAGE] + bytes(PAGE) + data[(page + 1) * PAGE :]


def exchanged(data: bytes, one: int, other: int) -> bytes:
    pieces = [data[n * PAGE : (n + 1) * PAGE] for n in range(PAGES)]
    pieces[one], pieces[other] = pieces[other], pieces[one]
    return b"".join(pieces)


def flipped(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (content(HERE)[:-1], "bytes instead of"),
        (content(HERE) + b"\0", "bytes instead of"),
        (b"", "bytes instead of"),
        (bytes(SEGMENT_SIZE), "does not begin as WAL"),
        (content(HERE, system="7555000111222333445"), "another cluster (7555000111222333445)"),
        (content(Segment(1, 6)), "is not the one that belongs there"),
        (content(Segment(2, 5)), "is of timeline 2, not 1"),
        (zeroed(content(HERE), 7), "a page is missing at 0/500E000"),
        (exchanged(content(HERE), 8, 9), "the page at 0/5010000 is not the one"),
        (flipped(content(HERE), 20 * PAGE), "the page at 0/5028000 is not the one"),
        (flipped(content(HERE, pages=10), 12 * PAGE + 77), "a page is missing at 0/5014000"),
        (flipped(content(HERE), 20 * PAGE + 4), "is of timeline 0, not 1"),
    ],
)
def test_what_is_wrong_is_told(data: bytes, told: str) -> None:
    """Sizes, foreign clusters and positions, missing, exchanged and flipped pages."""
    assert told in pages.problem(data, HERE, SYSTEM)


def test_a_copy_under_another_timeline_is_found() -> None:
    """With the descent known, the old timeline's file cannot pass as the new one's."""
    copy = content(Segment(1, 5))
    assert "is of timeline 1, not 2" in pages.problem(copy, Segment(2, 5), SYSTEM, DESCENT)


def test_a_timeline_that_goes_back_is_found() -> None:
    """Pages of an earlier timeline never follow those of a later one."""
    data = bytearray(content(Segment(3, 5)))
    struct.pack_into("=I", data, 9 * PAGE + 4, 2)
    assert "is of timeline 2, not 3" in pages.problem(bytes(data), Segment(3, 5), SYSTEM)
