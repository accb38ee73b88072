"""What hurts an archive: a killed server whose data volume is lost, and a disk with no room for more WAL."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

import pytest

from drydock.recovery.archive import progress
from tests import commits, small_disk, timeline
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.checkout import Checkout

SEGMENT = 16 << 20  # bytes


@pytest.fixture
def shop(engine_name: str, make_checkout: Callable[..., Checkout]) -> Checkout:
    """A checkout with an archive, to be killed."""
    made = make_checkout(ENGINE=engine_name, WAL_ARCHIVE="on")
    made.run("up")
    return made


# Commits do not wait for the archive. benchmarks/rpo.py counts: nothing or one in most kills, up to 28 where the
# process that sends WAL got no processor just before. More than this would be an archive that does not follow.
LATE = 100


def test_a_kill_and_the_loss_of_the_volume_cost_the_last_commits_at_most(shop: Checkout) -> None:
    """SIGKILL for Postgres alone and with the archiver, amid commits: the archive's files have the thousand before."""
    for everything in (False, True):
        acknowledged, missing = commits.lost(shop, 1000, everything=everything)
        assert acknowledged >= 1000
        assert missing <= LATE, f"everything: {everything}"
        shop.run("up")


def test_where_commits_wait_for_the_archive_a_kill_costs_none(shop: Checkout) -> None:
    """WAL_ARCHIVE_SYNCHRONOUS=on: after SIGKILL for Postgres, also with the archiver, all acknowledged are there."""
    shop.configure(WAL_ARCHIVE_SYNCHRONOUS="on")
    shop.run("up")
    for everything in (False, True):
        assert commits.lost(shop, 1000, everything=everything)[1] == 0, f"everything: {everything}"
        shop.run("up")


@pytest.fixture
def small(engine_name: str, make_checkout: Callable[..., Checkout]) -> Iterator[Checkout]:
    """A checkout with an archive; its backups/ is a file system of its own, which a test may fill."""
    made = make_checkout(ENGINE=engine_name, WAL_ARCHIVE="on")
    with small_disk.mounted(made.root / "backups", 256):
        yield made
        made.run("down", code=None)


def test_a_full_disk_stops_the_archive_alone_until_there_is_room(small: Checkout) -> None:
    """Postgres goes on, status and doctor say why nothing is received; then all of it arrives, without a hole."""
    numbers = timeline.archived(small)
    numbers.add(1)
    numbers.archived()
    commits.settle(small.environment)
    filler = small.root / "backups" / "filler"
    filler.write_bytes(bytes(shutil.disk_usage(filler.parent).free - SEGMENT // 2))
    small.query("SELECT pg_switch_wal()")
    undone = numbers.add(2)
    eventually(lambda: any(one.startswith(f"{progress.CHECK}: ") for one in timeline.complaints(small)), "told of", 60)
    assert re.search(r"archive:process .*No space left on device", small.run("doctor", code=None).stdout)
    numbers.add(3)

    filler.unlink()
    small.run("up")
    numbers.archived()
    assert timeline.complaints(small) == []
    small.run("archive.verify")
    small.run("restore", "--before-xid", undone, "--yes")
    assert numbers.all() == [1]
