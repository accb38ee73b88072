"""Where pg_receivewal would go on, and which servers would let it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from drydock.recovery.archive import receiving
from drydock.recovery.archive.folders import Archive, Part
from drydock.recovery.archive.receiving import Server
from drydock.recovery.wal.positions import SEGMENT_SIZE, Segment, format_lsn, parse_history
from drydock.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from drydock.recovery.archive.folders import Stored

ONE, TWO = parse_history(1, ""), parse_history(2, f"1\t{format_lsn(5 * SEGMENT_SIZE + 4096)}\tno recovery target\n")


def stored(root: Path, names: Sequence[str]) -> list[Stored]:
    """The segments of a part with these files; `!` in front makes one of the wrong size."""
    archive = Archive(Settings(root=root), "7555000111222333444")
    folder = archive.folder / "1"
    folder.mkdir(parents=True)
    for name in names:
        with (folder / name.lstrip("!")).open("wb") as stream:
            stream.truncate(0x2000 if name.startswith("!") else SEGMENT_SIZE)
    return archive.segments("1")


def name(number: int, timeline: int = 1) -> str:
    """A segment's name."""
    return Segment(timeline, number).name


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ([], None),
        ([f"{name(4)}.partial"], (1, 4)),
        ([name(3), name(4)], (1, 5)),
        ([name(4), f"{name(5)}.partial"], (1, 5)),
        ([name(4), f"{name(4)}.partial"], (1, 5)),
        ([f"{name(5)}.partial", f"{name(5, timeline=2)}.partial"], (2, 5)),
        ([name(6), f"{name(5, timeline=2)}.partial"], (1, 7)),
        ([f"{name(8)}.zst", f"{name(9)}.zst.age", name(4)], (1, 5)),
        ([f"{name(8)}.zst"], None),
        ([name(3), f"!{name(4)}"], (1, 4)),
        ([name(3), f"!{name(4)}.partial"], (1, 4)),
    ],
)
def test_it_goes_on_at_the_highest_number(tmp_path: Path, files: list[str], expected: tuple[int, int] | None) -> None:
    """Whatever the timeline has become; sealed files and finished ones of the wrong size are not seen."""
    found = receiving.resumes_at(stored(tmp_path, files))
    assert found == (expected and (expected[0], expected[1] * SEGMENT_SIZE))


@pytest.mark.parametrize(
    ("at", "server", "expected"),
    [
        ((1, 4.0), Server(ONE, 5 * SEGMENT_SIZE, {4, 5}), ""),
        ((1, 5.0), Server(ONE, 5 * SEGMENT_SIZE, {4}), ""),
        ((1, 6.0), Server(ONE, 5 * SEGMENT_SIZE, {4, 5}), "ahead of this server"),
        ((1, 3.0), Server(ONE, 5 * SEGMENT_SIZE, {4, 5}), "no longer has the WAL"),
        ((1, 5.0), Server(TWO, 7 * SEGMENT_SIZE, {5, 6}), ""),
        ((1, 6.0), Server(TWO, 7 * SEGMENT_SIZE, {5, 6}), "this server's history"),
        ((2, 6.0), Server(TWO, 7 * SEGMENT_SIZE, {5, 6}), ""),
        ((2, 5.0), Server(TWO, 7 * SEGMENT_SIZE, {5, 6}), ""),  # in which it begins: its file has what was before
        ((2, 4.0), Server(TWO, 7 * SEGMENT_SIZE, {4, 5, 6}), "this server's history"),
        ((2, 5.0), Server(ONE, 7 * SEGMENT_SIZE, {5, 6}), "this server's history"),
        ((3, 6.0), Server(TWO, 7 * SEGMENT_SIZE, {5, 6}), "this server's history"),
    ],
)
def test_what_a_server_would_refuse(at: tuple[int, float], server: Server, expected: str) -> None:
    """Another history, a position that it has not reached, WAL that it has removed."""
    found = receiving.refusal((at[0], int(at[1] * SEGMENT_SIZE)), server)
    assert (expected in found) if expected else found == ""


def test_a_part_is_complete_up_to_its_last_whole_segment(tmp_path: Path) -> None:
    """In whatever form it is kept; what is still being received does not count."""
    part = Part(
        system_identifier="7555000111222333444",
        name="1",
        incarnation=1,
        timeline=1,
        start="0/2000028",
        begun="2026-11-21T10:00:00+00:00",
        reason="first start",
    )
    assert receiving.complete_to(part, []) == 2 * SEGMENT_SIZE
    found = stored(tmp_path, [f"{name(2)}.zst", name(3), f"{name(4)}.partial"])
    assert receiving.complete_to(part, found) == 4 * SEGMENT_SIZE


def test_what_a_full_disk_left_behind_is_found(tmp_path: Path) -> None:
    """A file that could not be filled with zeros, and no other."""
    found = stored(tmp_path, [name(3), f"{name(4)}.partial", f"!{name(5)}.partial", f"!{name(2)}"])
    assert [one.path.name for one in receiving.stunted(found)] == [f"{name(5)}.partial"]
