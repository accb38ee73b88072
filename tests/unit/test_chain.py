"""The WAL across the parts of an archive: which copy is used, and when none is."""

from __future__ import annotations

from pathlib import Path

import pytest

from drydock.errors import RefusedError
from drydock.recovery.archive.chain import Chain, MissingError
from drydock.recovery.archive.folders import Form, Stored
from drydock.recovery.wal.positions import SEGMENT_SIZE, Segment

SUFFIXES = {Form.SEALED: ".zst", Form.FINISHED: "", Form.PARTIAL: ".partial"}
FORK = f"1\t0/{SEGMENT_SIZE * 3 + 4096:X}\tbefore\n"


class Contents(dict[Stored, bytes]):
    """What is in files, and which of them were read."""

    def __init__(self, *args: dict[Stored, bytes]) -> None:
        super().__init__(*args)
        self.asked: set[Stored] = set()

    def read(self, stored: Stored) -> bytes:
        """Note it."""
        self.asked.add(stored)
        return self[stored]


def copy(number: int, *, form: Form = Form.SEALED, part: str = "1", timeline: int = 1) -> Stored:
    """A file of the archive."""
    segment = Segment(timeline, number)
    return Stored(segment, form, Path(part) / f"{segment.name}{SUFFIXES[form]}")


def chain(*copies: Stored, contents: Contents | None = None, **histories: str) -> Chain:
    """A chain of these; `t2="…"` is the history of timeline 2."""
    return Chain(copies, {int(name[1:]): [text] for name, text in histories.items()}, contents or Contents())


def test_the_files_from_one_position_to_another() -> None:
    """In order, across a timeline's beginning, and only what is needed."""
    found = chain(
        *(copy(n) for n in range(1, 5)), copy(3, part="2", timeline=2), copy(4, part="2", timeline=2), t2=FORK
    )
    descent = found.descent(2)
    names = [s.segment for s in found.contiguous(descent, SEGMENT_SIZE + 5, 4 * SEGMENT_SIZE + 5)]
    assert names == [Segment(1, 1), Segment(1, 2), Segment(2, 3), Segment(2, 4)]
    assert [s.segment.number for s in found.contiguous(found.descent(1), SEGMENT_SIZE, 2 * SEGMENT_SIZE)] == [1]


@pytest.mark.parametrize("missing", [1, 2, 3])
def test_a_hole_is_named(missing: int) -> None:
    """Every segment in turn: by name and position."""
    found = chain(*(copy(n) for n in range(1, 4) if n != missing))
    with pytest.raises(MissingError, match=f"{Segment(1, missing).name} .0/{missing}000000 to .* is missing") as caught:
        found.contiguous(found.descent(1), SEGMENT_SIZE, 4 * SEGMENT_SIZE)
    assert caught.value.segment == Segment(1, missing)


def test_a_partial_segment_is_only_ever_the_last() -> None:
    """In the middle, the rest of it is missing."""
    found = chain(copy(1), copy(2, form=Form.PARTIAL), copy(3))
    assert len(found.contiguous(found.descent(1), SEGMENT_SIZE, 2 * SEGMENT_SIZE + 9)) == 2
    with pytest.raises(MissingError, match=r"is there only in part, as 1/.*partial"):
        found.contiguous(found.descent(1), SEGMENT_SIZE, 3 * SEGMENT_SIZE + 9)


def test_the_best_of_equal_copies_is_used() -> None:
    """Sealed before plain, whole before partial, the longer partial before the shorter; nothing is read needlessly."""
    sealed, plain, short = copy(1), copy(1, form=Form.FINISHED), copy(1, form=Form.PARTIAL, part="2")
    contents = Contents({sealed: b"abcdef", plain: b"abcdef", short: b"abc\0\0\0"})
    assert chain(short, plain, sealed, contents=contents).best(Segment(1, 1)) == sealed
    assert chain(short, plain, contents=contents).best(Segment(1, 1)) == plain
    longer = copy(1, form=Form.PARTIAL, part="1.2")
    assert (
        chain(longer, short, contents=Contents({longer: b"abcd\0\0", short: b"abc\0\0\0"})).best(Segment(1, 1))
        == longer
    )
    alone = Contents()
    assert chain(sealed, contents=alone).best(Segment(1, 1)) == sealed
    assert not alone.asked


@pytest.mark.parametrize(
    ("form", "content"), [(Form.SEALED, b"abcdeX"), (Form.FINISHED, b"abcde"), (Form.PARTIAL, b"abX\0\0\0")]
)
def test_copies_that_differ_are_refused(form: Form, content: bytes) -> None:
    """Whichever is the right one, nobody can tell; both are named."""
    one, other = copy(1), copy(1, form=form, part="2")
    found = chain(one, other, contents=Contents({one: b"abcdef", other: content}))
    with pytest.raises(RefusedError, match="are the same piece of WAL, and their contents differ") as caught:
        found.contiguous(found.descent(1), SEGMENT_SIZE, 2 * SEGMENT_SIZE)
    assert "1/" in caught.value.message
    assert "2/" in caught.value.message


def test_two_histories_of_a_timeline_are_refused() -> None:
    """Trap 18: two servers may have chosen the same number."""
    other = FORK.replace("3001000", "3002000")
    with pytest.raises(RefusedError, match="two different histories of timeline 2"):
        Chain([], {2: [FORK, other]}, Contents()).descent(2)
    assert Chain([], {2: [FORK, FORK]}, Contents()).descent(2).timeline == 2
    with pytest.raises(RefusedError, match="two different histories of timeline 2"):
        chain(t2=FORK, t3=f"{other}2\t0/9000000\tbefore\n").descent(3)
    with pytest.raises(RefusedError, match=r"00000002\.history is missing"):
        chain(copy(1, timeline=2)).descent(2)


@pytest.mark.parametrize(
    ("copies", "last", "expected"),
    [
        ([copy(1), copy(2)], 3 * SEGMENT_SIZE, 3 * SEGMENT_SIZE),
        ([copy(1), copy(2, form=Form.PARTIAL)], 2 * SEGMENT_SIZE + 800, 2 * SEGMENT_SIZE + 800),
        ([copy(1), copy(3)], 4 * SEGMENT_SIZE, 2 * SEGMENT_SIZE),
        ([copy(1), copy(2, form=Form.PARTIAL), copy(3)], 4 * SEGMENT_SIZE, 2 * SEGMENT_SIZE),
        ([copy(2)], 3 * SEGMENT_SIZE, SEGMENT_SIZE + 5),
    ],
)
def test_how_far_the_wal_reaches(copies: list[Stored], last: int, expected: int) -> None:
    """Up to a hole or the last record; a partial segment counts only at the end."""
    found = chain(*copies)
    assert found.extent(found.descent(1), SEGMENT_SIZE + 5, last) == expected


def test_how_far_the_wal_reaches_without_the_new_timelines_first_segment() -> None:
    """Up to where the timeline begins, which the older one's segment still holds."""
    found = chain(copy(1), copy(2), copy(3), t2=FORK)
    fork = 3 * SEGMENT_SIZE + 4096
    assert found.extent(found.descent(2), SEGMENT_SIZE, fork) == fork
