"""What one process of a test run works with: its share of the server, its clones, and which test has which."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from drydock.testing.database import Database
from drydock.throwaway import keeper
from drydock.throwaway.clones import Clones

if TYPE_CHECKING:
    from drydock.throwaway.server import Server

HELD: pytest.StashKey[list[Database]] = pytest.StashKey()


class Bench:
    """The databases of one process's tests.

    Args:
        server: this process's share in it; closed with the bench.
    """

    def __init__(self, server: Server) -> None:
        self.server = server
        self._clones = Clones(server.environment, server.left_behind)
        self._lock = threading.Lock()

    def hand_out(self, item: pytest.Item, size: str) -> Database:
        """A fresh database for a test, with seeds of `size` or, where that is empty, without. Safe between threads.

        Raises:
            DrydockError: where the template cannot be built or cloned.
        """
        with self._lock:
            name = self._clones.take(self.server.template(size))
            database = Database(self.server.environment, name, size)
            item.stash.setdefault(HELD, []).append(database)
        return database

    def keep(self, item: pytest.Item) -> str:
        """Keep the databases that a test has; what to tell of each."""
        told = []
        for database in item.stash.get(HELD, []):
            if self._clones.keep(database.name, item.nodeid):
                keeper.note_kept(self.server.environment)
                told.append(database.told)
            else:
                told.append(f"{database.name} is not kept: enough of this run are.")
        item.stash[HELD] = []
        return "\n".join(told)

    def take_back(self, item: pytest.Item) -> str:
        """Have the databases of a test removed, but for those that are kept; there is nothing to tell."""
        for database in item.stash.get(HELD, []):
            self._clones.condemn(database.name)
        item.stash[HELD] = []
        return ""

    def close(self) -> None:
        """Remove what is not kept, and give the server up.

        Raises:
            DrydockError: where something could not be removed.
        """
        try:
            self._clones.close()
        finally:
            self.server.close()
