"""The health of the data layer: its sections, asked side by side."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import app
from app.health import migrations
from app.health.check import Check, Status
from app.health.database import DatabaseQuestion, breaker_check, pool_check
from app.health.document import document
from app.health.probe import Probe
from app.health.redis import RedisQuestion

if TYPE_CHECKING:
    from app.db.database import Database

DEADLINE: Final = 0.8
"""Seconds: below the 1 s after which Kubernetes gives a probe up (timeoutSeconds of its default)."""
EXTENSIONS: Final = ("vector",)
SECTIONS: Final = ("db", "redis")


class Health:
    """Asks Postgres and Redis how they are.

    Args:
        database: whose settings say where both are, and whose pool is reported. It is not used to ask.
        deadline: seconds within which each section has answered, whatever its server does.

    Raises:
        SettingsError: the settings name no database.
        alembic.util.CommandError: the migration files contradict one another.
    """

    def __init__(self, database: Database, *, deadline: float = DEADLINE) -> None:
        self._database = database
        settings = database.settings
        code = migrations.find(Path(app.__file__).parent)
        question = DatabaseQuestion(settings.application(), EXTENSIONS, code, deadline)
        self._probes = {"db": Probe("postgres", question, deadline=deadline)}
        self._redis = RedisQuestion(settings.redis_url.get_secret_value(), deadline) if settings.redis_url else None
        if self._redis:
            self._probes["redis"] = Probe("redis", self._redis, deadline=deadline)

    def report(self) -> dict[str, Any]:
        """The document of all sections."""
        for probe in self._probes.values():
            probe.begin()
        return document([check for section in self._probes for check in self._complete(section)])

    async def report_async(self, section: str = "") -> dict[str, Any]:
        """The document of one section, or of all that are set up."""
        wanted = [section] if section else list(self._probes)
        answers = await asyncio.gather(*(self._complete_async(name) for name in wanted))
        return document([check for checks in answers for check in checks])

    def close(self) -> None:
        """End the connection to Redis; the database's are its own."""
        if self._redis:
            self._redis.close()

    def _complete(self, section: str) -> list[Check]:
        return [*self._probes[section].answer(), *self._known(section)]

    async def _complete_async(self, section: str) -> list[Check]:
        if section not in self._probes:
            return [Check(name=f"{section}:configured", status=Status.FAIL, output="REDIS_URL is not set")]
        return [*await self._probes[section].answer_async(), *self._known(section)]

    def _known(self, section: str) -> list[Check]:
        """What this process knows without asking: most telling while the server is silent."""
        if section != "db":
            return []
        return [pool_check(self._database.pool_stats()), breaker_check(self._database.breaker.snapshot())]
