from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import psycopg
import pytest
from pydantic import SecretStr

from app.db.database import Database
from app.errors import DatabaseUnavailable, SettingsError
from app.health.asgi import HealthApplication
from app.health.health import Health
from app.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.app.conftest import AppDatabase
    from tests.app.health.conftest import FrozenServer, Service
    from tests.proxy import Proxy

SILENT = "no answer within 0.5 s"
CALLERS = 20


def reason(document: dict[str, Any], name: str = "postgres:responseTime") -> str:
    """Why a check is not a pass."""
    (check,) = document["checks"][name]
    return str(check["output"])


def broken() -> Health:
    """What cannot be made."""
    raise SettingsError([("DATABASE_URL", "is not set")])


def test_a_healthy_service(steady: Service) -> None:
    """Every check passes, each with what was observed and when."""
    answer = steady.ask("/readyz")
    assert answer.status == 200
    document = answer.document
    assert document["status"] == "pass"
    assert set(document["checks"]) == {
        "postgres:responseTime",
        "postgres:migration",
        "postgres:extensionVersion",
        "postgres:connections",
        "postgres:circuitBreaker",
        "redis:responseTime",
        "redis:loading",
        "redis:memory",
        "redis:version",
    }
    for (check,) in document["checks"].values():
        assert check["status"] == "pass"
        assert check["time"].endswith("Z")
        assert "output" not in check
        assert "observedValue" in check


def test_answers_are_not_to_be_cached(steady: Service) -> None:
    """The media type is the draft's, and no proxy may keep the answer."""
    for path in ("/livez", "/readyz", "/health/db", "/health/redis"):
        headers = steady.ask(path).headers
        assert (headers["content-type"], headers["cache-control"]) == ("application/health+json", "no-store")


def test_head_is_get_without_the_body(steady: Service) -> None:
    """The same status and length."""
    get, head = steady.ask("/livez"), steady.ask("/livez", "HEAD")
    assert (head.status, head.headers["content-length"], head.body) == (200, str(len(get.body)), b"")


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("/", "GET", 404),
        ("/livez/", "GET", 404),
        ("/readyz", "POST", 405),
        ("/livez", "DELETE", 405),
        ("/x", "PUT", 404),
    ],
)
def test_other_requests_are_refused_as_json(steady: Service, path: str, method: str, status: int) -> None:
    """With what there is instead."""
    answer = steady.ask(path, method)
    assert (answer.status, answer.headers["content-type"]) == (status, "application/json")
    assert "/livez" in answer.document["error"] or "GET" in answer.document["error"]
    assert answer.headers.get("allow") == ("GET, HEAD" if status == 405 else None)


def test_life_depends_on_nothing(serve: Callable[..., Service]) -> None:
    """/livez answers where not even the settings can be read; a restart would not help."""
    answer = serve(HealthApplication(broken), lifespan="off").ask("/livez")
    assert (answer.status, answer.document) == (200, {"status": "pass"})


def test_a_section_alone(steady: Service) -> None:
    """Postgres's checks or Redis's."""
    for path, component in (("/health/db", "postgres"), ("/health/redis", "redis")):
        document = steady.ask(path).document
        assert {name.partition(":")[0] for name in document["checks"]} == {component}


def test_nothing_sensitive_is_told(service: Service, database: Database, network: Proxy) -> None:
    """Neither well nor ill: no password, user, database, address or port."""
    url = urlsplit(database.settings.database_url.get_secret_value())  # type: ignore[union-attr]
    well = service.ask("/readyz").body.decode()
    network.cut()
    ill = service.ask("/readyz").body.decode()
    for secret in (str(url.password), url.path[1:], "127.0.0.1", str(url.port), '"app"', "user"):
        assert secret not in well
        assert secret not in ill


def test_a_frozen_postgres(service: Service, frozen: FrozenServer) -> None:
    """SIGSTOP: 503 at the deadline, again and again, Redis's part intact; 200 soon after it goes on."""
    service.wait_for("/readyz", 200)
    frozen.freeze()
    for _ in range(2):
        answer = service.ask("/readyz")
        assert (answer.status, reason(answer.document)) == (503, SILENT)
        assert "redis:responseTime" in answer.document["checks"]
        assert service.ask("/livez").status == 200
    frozen.thaw()
    assert service.wait_for("/readyz", 200).document["status"] == "pass"


def test_a_cut_network(service: Service, network: Proxy, database: Database) -> None:
    """Every packet is dropped and nobody is told: 503 at the deadline; 200 soon after it is mended.

    Who has more patience than the driver is told the same, by the driver.
    """
    network.lose()
    answer = service.ask("/health/db")
    assert (answer.status, reason(answer.document)) == (503, SILENT)
    assert reason(Health(database, deadline=8).report()).startswith("no answer within 2")
    network.mend()
    service.wait_for("/health/db", 200)


def test_a_postgres_that_is_gone(service: Service, network: Proxy, caplog: pytest.LogCaptureFixture) -> None:
    """Refused connections are told at once; the log has one line when it goes and one when it is back."""
    service.wait_for("/health/db", 200)
    with caplog.at_level(logging.INFO, "app.health"):
        network.cut()
        for _ in range(3):
            assert reason(service.ask("/health/db").document) == "no connection"
        network.mend()
        service.wait_for("/health/db", 200)
    assert ["postgres: fail" in record.message for record in caplog.records] == [True, False]


def test_a_redis_that_is_gone(steady_database: Database, serve: Callable[..., Service]) -> None:
    """Its own section fails and so does readiness; the database's does not. Nothing listens on port 1."""
    settings = steady_database.settings.model_copy(update={"redis_url": SecretStr("redis://127.0.0.1:1/0")})
    service = serve(HealthApplication(lambda: Health(Database(settings), deadline=5)))
    assert [service.ask(path).status for path in ("/readyz", "/health/redis", "/health/db")] == [503, 503, 200]


def test_requests_share_the_open_question(
    database: Database, frozen: FrozenServer, network: Proxy, serve: Callable[..., Service]
) -> None:
    """Twenty requests while the first one hangs are one connection; the loop is free, and all get the late answer."""
    service = serve(HealthApplication(lambda: Health(database, deadline=9)))
    frozen.freeze()
    with ThreadPoolExecutor(CALLERS) as threads:
        answers = [threads.submit(service.ask, "/health/db") for _ in range(CALLERS)]
        while network.opened == 0:
            service.ask("/livez")
        assert service.ask("/livez").status == 200
        assert not any(answer.done() for answer in answers)
        frozen.thaw()
        assert {answer.result().status for answer in answers} == {200}
    assert network.opened == 1


def test_a_probe_that_hangs_is_not_repeated(service: Service, network: Proxy) -> None:
    """After the deadline, too, a silent server costs one connection, and those who come later are told at once."""
    network.lose()
    assert [service.ask("/health/db").status for _ in range(5)] == [503] * 5
    assert network.opened == 1


def test_the_schema_against_the_code(app_database: AppDatabase) -> None:
    """A database ahead of the code is how releases roll out; one that lags behind does not serve."""
    health = Health(Database(Settings(app_env="development", database_url=app_database.app_url)), deadline=5)
    told = []
    for revision in ("000000000000", "3f7c1a9be204", None):
        with psycopg.connect(app_database.owner_url) as connection:
            connection.execute("DELETE FROM alembic_version")
            if revision:
                connection.execute("INSERT INTO alembic_version VALUES (%s)", (revision,))
        document = health.report()
        told.append((document["status"], reason(document, "postgres:migration")[:37]))
    behind = ("fail", "the database lags behind this code's ")
    assert told == [("warn", "the database is at a revision that th"), behind, behind]


def test_a_missing_extension(app_database: AppDatabase) -> None:
    """What the models need is not there."""
    health = Health(Database(Settings(app_env="development", database_url=app_database.app_url)), deadline=5)
    with psycopg.connect(app_database.superuser_url) as connection:
        connection.execute("DROP EXTENSION vector CASCADE")
    assert reason(health.report(), "postgres:extensionVersion") == "it is not installed"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ((r"app:", "app:not-"), "the login was refused"),
        ((r"app$", "none"), "there is no such database or role"),
        ((r"app:", "nobody:"), "the login was refused"),
    ],
)
def test_refusals_are_told_apart(steady_database: Database, change: tuple[str, str], words: str) -> None:
    """And in words of ours: Postgres's own name users and databases."""
    url = steady_database.settings.database_url.get_secret_value()  # type: ignore[union-attr]
    wrong = Database(Settings(app_env="development", database_url=re.sub(*change, url, count=1)))
    assert reason(Health(wrong, deadline=5).report()) == words


def test_without_redis_configured(steady_database: Database, serve: Callable[..., Service]) -> None:
    """A service that has none is ready; who asks for Redis itself is told."""
    settings = steady_database.settings.model_copy(update={"redis_url": None})
    service = serve(HealthApplication(lambda: Health(Database(settings), deadline=5)))
    assert service.ask("/readyz").status == 200
    answer = service.ask("/health/redis")
    assert (answer.status, reason(answer.document, "redis:configured")) == (503, "REDIS_URL is not set")


def test_the_pool_is_reported(steady: Service, steady_database: Database) -> None:
    """What this process holds, without asking the server."""
    with steady_database.engine.connect():
        (check,) = steady.ask("/health/db").document["checks"]["postgres:connections"]
    assert (check["observedValue"], check["observedUnit"], check["maximum"]) == (1, "connections", 10)


def test_the_breaker_is_reported(steady_database: Database) -> None:
    """While this process leaves the database alone its health is a warning, even if the database is well."""
    database = Database(steady_database.settings)
    health = Health(database, deadline=5)
    for _ in range(5):
        with contextlib.suppress(DatabaseUnavailable), database.breaker.guard():
            raise DatabaseUnavailable
    document = health.report()
    (check,) = document["checks"]["postgres:circuitBreaker"]
    assert (document["status"], check["status"], check["observedValue"], check["opened"]) == ("warn", "warn", "open", 1)


def test_it_can_be_mounted() -> None:
    """Below a prefix of a larger application, whose other connections are refused politely."""

    async def call(scope: dict[str, Any]) -> dict[str, Any]:
        sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        await HealthApplication(broken)(scope, sent.get, sent.put)
        return sent.get_nowait()

    live = {"type": "http", "method": "GET", "path": "/internal/livez", "root_path": "/internal"}
    assert asyncio.run(call(live))["status"] == 200
    assert asyncio.run(call({"type": "websocket", "path": "/livez"}))["type"] == "websocket.close"


def test_settings_that_cannot_be_used_end_the_start() -> None:
    """The server is told why and does not come up, instead of answering with errors."""

    async def start() -> dict[str, Any]:
        sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

        async def receive() -> dict[str, Any]:
            return {"type": "lifespan.startup"}

        await HealthApplication(broken)({"type": "lifespan"}, receive, sent.put)
        return sent.get_nowait()

    message = asyncio.run(start())
    assert message["type"] == "lifespan.startup.failed"
    assert "DATABASE_URL" in message["message"]
