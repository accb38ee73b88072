"""What tests of the WAL work with: a server of their own, and the server's programs; embedded only."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.wal_server import WalServer, tools

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drydock.engine.embedded import EmbeddedEngine


@pytest.fixture(scope="module")
def engine(embedded_engine: str, tmp_path_factory: pytest.TempPathFactory) -> EmbeddedEngine:
    """An engine that runs programs and has no environment."""
    assert embedded_engine
    return tools(tmp_path_factory.mktemp("tools"))


@pytest.fixture(scope="module")
def server(embedded_engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WalServer]:
    """A server for the tests of a module, ended as a crash would."""
    assert embedded_engine
    made = WalServer(tmp_path_factory.mktemp("wal") / "server")
    made.start()
    yield made
    made.stop("immediate")
