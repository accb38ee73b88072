"""Is the data layer well? The answer as a document, for commands, and over HTTP (`app.health.asgi`)."""

from __future__ import annotations

from typing import Any

__all__ = ["report"]

PATIENCE = 3.0
"""Seconds that a person at a terminal waits for each server."""


def report() -> dict[str, Any]:
    """The `application/health+json` document of this process's settings.

    Raises:
        SettingsError: where the settings cannot be used.
    """
    from app.db.database import get_database
    from app.health.health import Health

    health = Health(get_database(), deadline=PATIENCE)
    try:
        return health.report()
    finally:
        health.close()
