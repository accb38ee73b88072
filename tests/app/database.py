"""What the tests of connections share: one server's view of a client."""

from __future__ import annotations

from typing import Any

import psycopg


class Onlooker:
    """The server as its superuser sees it."""

    def __init__(self, url: str) -> None:
        self.connection: psycopg.Connection[Any] = psycopg.connect(url, autocommit=True)

    def close(self) -> None:
        """Look no more."""
        self.connection.close()

    def rows(self, query: str) -> list[Any]:
        """The first column of a query."""
        return [row[0] for row in self.connection.execute(query.encode()).fetchall()]

    def sessions(self) -> list[int]:
        """The processes that serve the application's connections to this database."""
        return self.rows(
            "SELECT pid FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = 'app' ORDER BY pid"
        )

    def terminate(self) -> int:
        """End all of the application's sessions; returns how many there were."""
        return len(
            self.rows(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE datname = current_database() AND application_name = 'app'"
            )
        )
