"""What restore makes of its words: names that are empty, taken, too long or a file's as well."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.checkout import Checkout

COUNT = "SELECT count(*) FROM messages"


@pytest.fixture(scope="module")
def shop(scratch: Checkout) -> Iterator[Checkout]:
    """A checkout with one proven backup of the seeded state, called `docs`, and no rows since."""
    scratch.run("reset")
    scratch.run("backup", "--label", "docs")
    scratch.query("DELETE FROM messages")
    yield scratch
    scratch.run("reset")


@pytest.mark.parametrize(
    "flag", ["into", "table", "at", "before-xid", "lsn", "mark", "timeline", "branch", "cluster", "source"]
)
def test_an_empty_value_is_not_taken_for_none(shop: Checkout, flag: str) -> None:
    """A shell's variable that is not set neither replaces the live database nor stands for the latest backup."""
    words = ["docs", f"--{flag}", ""] if flag != "source" else [""]
    told = shop.run("restore", *words, "--yes", code=2).stderr
    assert f"--{flag} is empty" in told if flag != "source" else "The name of the backup is empty" in told
    assert shop.query(COUNT) == [(0,)]
