"""Every kind of target, on a real server: the rows after a restore are exactly those of the ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests import time_travel

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.checkout import Checkout

TRANSACTIONS, TARGETS = 40, 20  # on CI; `python -m tests.time_travel --targets 500` takes its time
SEED = 20261121


@pytest.mark.timeout(600)
def test_restores_show_what_was_committed(engine_name: str, make_checkout: Callable[..., Checkout]) -> None:
    """Commits, rollbacks, savepoints, DDL, TRUNCATE, two phases, concurrent writers: no difference at any target."""
    checkout = make_checkout(ENGINE=engine_name, WAL_ARCHIVE="on")
    time_travel.prepare(checkout)
    checkout.run("up")
    said: list[str] = []
    outcome = time_travel.run(checkout, SEED, TRANSACTIONS, TARGETS, said.append)
    assert outcome.differences == [], "\n".join(said)
    assert sum(outcome.kinds.values()) == TARGETS
