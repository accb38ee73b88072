"""A full disk under the data: a sentence, nothing lost, and the next run goes on once there is room."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.checkout import Checkout

pytestmark = [
    pytest.mark.embedded,
    pytest.mark.usefixtures("embedded_engine"),
    pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="a small file system needs root on Linux"),
]


@pytest.fixture
def small(make_checkout: Callable[..., Checkout]) -> Iterator[Checkout]:
    """A checkout whose volumes lie on a file system that holds little more than an empty cluster."""
    checkout = make_checkout(ENGINE="embedded")
    volumes = checkout.root / ".drydock" / "volumes"
    volumes.mkdir(parents=True, mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=110m,mode=700", "tmpfs", str(volumes)], check=True)
    yield checkout
    checkout.run("down", code=None)
    subprocess.run(["umount", "--lazy", str(volumes)], check=True)


def enlarge(checkout: Checkout) -> None:
    """Give the volumes room."""
    volumes = checkout.root / ".drydock" / "volumes"
    subprocess.run(["mount", "-o", "remount,size=3g", str(volumes)], check=True)


def test_seeding_into_a_full_disk_keeps_what_was_there(small: Checkout) -> None:
    """Seeding more than fits fails with the server's words and changes nothing; with room it succeeds."""
    small.run("up")
    error = small.run("seed", "--size", "medium", code=None).stderr
    assert "No space left on device" in error or "does not answer" in error or "closed the connection" in error
    small.run("up")
    assert small.query("SELECT count(*) FROM messages") == [(1194,)]
    enlarge(small)
    small.run("up")
    small.run("reset", "--size", "small")
    assert small.query("SELECT count(*) FROM messages") == [(1194,)]


def test_initialising_on_a_full_disk_heals(small: Checkout) -> None:
    """A first up that runs out of space says so; the next one, with room, does the whole job."""
    filler = small.root / ".drydock" / "volumes" / "filler"
    filler.write_bytes(b"\0" * (100 << 20))
    assert "space" in small.run("up", code=None).stderr.lower()
    filler.unlink()
    enlarge(small)
    small.run("up")
    assert small.json("status")["status"] == "pass"
