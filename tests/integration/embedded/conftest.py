"""Embedded engines: one that was never started, one to be broken, and one that tests leave as it was."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.bare_engine import AWKWARD, SECRETS, Bare, end, make

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Bare]:
    """A checkout that was never started."""
    made = make(tmp_path / "checkout")
    yield made
    end(made)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bare]:
    """A started checkout in an awkwardly named folder, for tests that leave it as it was."""
    made = make(tmp_path_factory.mktemp("running") / AWKWARD)
    made.start()
    with made.connect() as connection:
        connection.execute(f"CREATE ROLE app LOGIN PASSWORD '{SECRETS['app_password']}'")
        connection.execute("CREATE DATABASE app")
    yield made
    end(made)


@pytest.fixture
def started(checkout: Bare) -> Bare:
    """A started checkout to be broken, with a committed row in it."""
    checkout.start()
    with checkout.connect() as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    return checkout
