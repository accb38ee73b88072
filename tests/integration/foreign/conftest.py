"""A stranger's database on the shared checkouts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.strangers import Dumps, stranger

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.checkout import Checkout


@pytest.fixture(scope="module")
def dumps(ready: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dumps]:
    """A stranger's database on the shared checkout. Its owners exist only while it is dumped."""
    yield from stranger(ready, tmp_path_factory.mktemp("dumps"))


@pytest.fixture(scope="module")
def scratch_dumps(scratch: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dumps]:
    """The same on whichever engine is quicker."""
    yield from stranger(scratch, tmp_path_factory.mktemp("dumps"))
