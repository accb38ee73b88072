from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from drydock.backup.encryption import OPEN
from drydock.recovery.archive.proving import Prover

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from drydock.engine.embedded import EmbeddedEngine
    from drydock.recovery.archive.folders import Stored
    from drydock.recovery.archive.proving import Laid
    from tests.wal_server import WalServer


@pytest.fixture
def segments(server: WalServer, tmp_path: Path) -> list[Stored]:
    """Five that follow one another."""
    server.query("CREATE TABLE IF NOT EXISTS p (id int)")
    for _ in range(5):
        server.query("INSERT INTO p VALUES (1)", "SELECT pg_switch_wal()")
    server.query("INSERT INTO p VALUES (1)")
    return [one for one in server.archive(tmp_path).segments("1") if not one.path.name.endswith(".partial")][-5:]


@pytest.fixture
def prover(server: WalServer, engine: EmbeddedEngine, tmp_path: Path) -> Iterator[Prover]:
    """One of that archive."""
    folder = tmp_path / "work"
    folder.mkdir()
    with Prover(engine, server.archive(tmp_path / "again"), OPEN, folder) as made:
        yield made


def names(laid: Laid) -> list[str]:
    return sorted(path.name for path in laid.folder.iterdir())


def expected(segments: list[Stored]) -> list[str]:
    return [one.segment.name for one in segments]


def test_what_comes_next_lies_beside_what_is_being_read(prover: Prover, segments: list[Stored]) -> None:
    """Both are there at the same time, in folders of their own, and the first is gone with the third."""
    first = prover.prove(segments[:2], segments[0].segment.start, segments[1:3])
    second = prover.prove(segments[1:3], segments[1].segment.start, [])
    assert (names(first), names(second)) == (expected(segments[:2]), expected(segments[1:3]))
    assert first.problem == second.problem == ""
    third = prover.prove(segments[2:4], segments[2].segment.start, [])
    assert (names(third), third.folder) == (expected(segments[2:4]), first.folder)


def test_what_is_asked_for_is_what_is_given(prover: Prover, segments: list[Stored]) -> None:
    """Where other segments are wanted than were begun with, they are proven themselves."""
    prover.prove(segments[:1], segments[0].segment.start, segments[:2])
    found = prover.prove(segments[3:], segments[3].segment.start, [])
    assert names(found) == expected(segments[3:])


def test_damage_is_told_whoever_came_first(prover: Prover, segments: list[Stored]) -> None:
    """What was proven ahead says how far its records go; from a record behind that on, it is asked again."""
    damaged = segments[2]
    damaged.path.write_bytes(damaged.path.read_bytes()[:100] + bytes(damaged.segment.end - damaged.segment.start - 100))
    prover.prove(segments[:2], segments[0].segment.start, segments[1:4])
    found = prover.prove(segments[1:4], segments[1].segment.start, segments[3:])
    assert found.problem
    assert not prover.prove(segments[3:], segments[3].segment.start, []).problem


def test_a_segment_that_is_gone_is_no_problem_of_its_records(prover: Prover, segments: list[Stored]) -> None:
    """It is told when it is asked for, not while others are being read."""
    segments[3].path.unlink()
    prover.prove(segments[:2], segments[0].segment.start, segments[3:])
    with pytest.raises(FileNotFoundError):
        prover.prove(segments[3:], segments[3].segment.start, [])
