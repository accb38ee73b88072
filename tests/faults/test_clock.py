"""A machine's clock that is changed while the servers run: libfaketime sets it for every program of a checkout."""

from __future__ import annotations

import importlib.util
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests import timeline

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.checkout import Checkout
    from tests.timeline import Numbers

LIBRARY = "vendor/libfaketime/src/libfaketime.so.1"


class MovedClock:
    """The clock of one checkout's programs; durations and the times of files are the machine's own."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.set(0)
        found = importlib.util.find_spec("libfaketime")
        assert found is not None
        assert found.origin is not None
        # LD_PRELOAD is a list with spaces between, so that a path with one is no path (ld.so(8)).
        library = file.with_name("libfaketime.so.1")
        library.symlink_to(Path(found.origin).parent / LIBRARY)
        self.variables = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
            # The library is not made for threads; where a program dies of it, this tells where (seen once).
            "PYTHONFAULTHANDLER": "1",
        }

    def set(self, hours: int) -> None:
        """Put it so many hours ahead of this machine's."""
        new = self.file.with_suffix(".new")
        new.write_text(f"{hours:+}h\n")
        new.replace(self.file)


@pytest.fixture
def clock(tmp_path: Path) -> MovedClock:
    """To begin with, it goes as the machine's."""
    return MovedClock(tmp_path / "clock")


@pytest.fixture
def numbers(embedded_engine: str, clock: MovedClock, make_checkout: Callable[..., Checkout]) -> Numbers:
    """A checkout with an archive that goes by that clock, and a base backup; nothing is committed yet."""
    return timeline.archived(make_checkout(ENGINE=embedded_engine, WAL_ARCHIVE="on", **clock.variables))


def test_a_clock_set_forward_and_back_makes_no_moment_ambiguous_in_silence(numbers: Numbers, clock: MovedClock) -> None:
    """A time that passed once is gone back to; one that passed twice asks which, and either answer is exact."""
    shop = numbers.checkout
    numbers.add(1)
    clock.set(2)
    numbers.add(2)
    assert ahead(shop) > timedelta(hours=1)
    between = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    numbers.add(3)
    numbers.archived()
    assert restored(numbers, "--at", between) == [1]
    shop.run("undo")

    clock.set(0)
    numbers.add(4)
    again = datetime.now(UTC).isoformat()
    numbers.archived()
    assert ahead(shop) < timedelta(minutes=1)
    refused = shop.run("restore", "--at", again, "--yes", code=3).stderr
    assert "passed twice: the server's clock was set back" in refused
    first, second = re.findall(r"--lsn (\S+)", refused)
    assert restored(numbers, "--lsn", second) == [1, 2, 3, 4]
    shop.run("undo")
    assert restored(numbers, "--lsn", first) == [1]
    shop.run("undo")
    assert numbers.all() == [1, 2, 3, 4]
    assert timeline.complaints(shop) == []


def test_base_backups_of_a_clock_that_ran_ahead_are_used_and_kept(numbers: Numbers, clock: MovedClock) -> None:
    """One that seems to come from tomorrow is no reason to remove others, or to restore from the wrong one."""
    shop = numbers.checkout
    undone = numbers.add(1)
    clock.set(24)
    shop.run("backup.base")
    numbers.add(2)
    clock.set(0)
    numbers.add(3)
    later = numbers.add(4)
    shop.run("backup.base")
    numbers.archived()
    assert restored(numbers, "--before-xid", later) == [1, 2, 3]
    shop.run("undo")
    shop.run("archive.verify")
    assert restored(numbers, "--before-xid", undone) == []


def ahead(shop: Checkout) -> timedelta:
    """How far the server's clock is ahead of this machine's."""
    ((moment,),) = shop.query("SELECT clock_timestamp()")
    found: timedelta = moment - datetime.now(UTC)
    return found


def restored(numbers: Numbers, *target: str) -> list[int]:
    """Go back, and see what is there."""
    numbers.checkout.run("restore", *target, "--yes")
    return numbers.all()
