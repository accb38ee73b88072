"""The health endpoints over HTTP, and servers that fall silent."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import psutil
import pytest
import uvicorn
from pydantic import SecretStr

from app.db.database import Database
from app.health.asgi import HealthApplication
from app.health.health import Health
from app.settings import Settings
from tests.proxy import Proxy

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator

    from tests.checkout import Checkout

DEADLINE = 0.5


@dataclass(frozen=True)
class Answer:
    """One HTTP response."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> dict[str, Any]:
        """Its JSON."""
        document: dict[str, Any] = json.loads(self.body)
        return document


class Service:
    """An ASGI application on a loopback port."""

    def __init__(self, application: Any, lifespan: Literal["on", "off"] = "on") -> None:
        config = uvicorn.Config(application, host="127.0.0.1", port=0, log_config=None, lifespan=lifespan)
        self._server = uvicorn.Server(config)
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        assert self._started.wait(10)
        self.port: int = self._server.servers[0].sockets[0].getsockname()[1]

    def _run(self) -> None:
        startup = self._server.startup

        async def and_tell(sockets: list[socket.socket] | None = None) -> None:
            await startup(sockets)
            self._started.set()

        self._server.startup = and_tell  # type: ignore[method-assign]
        self._server.run()

    def ask(self, path: str, method: str = "GET") -> Answer:
        """One request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        with contextlib.closing(connection):
            connection.request(method, path)
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())

    def wait_for(self, path: str, status: int) -> Answer:
        """Ask until the answer has this status; the test's own timeout ends what never comes."""
        while (answer := self.ask(path)).status != status:
            continue
        return answer

    def stop(self) -> None:
        """End it in an orderly way."""
        self._server.should_exit = True
        self._thread.join()


@pytest.fixture
def serve() -> Iterator[Callable[..., Service]]:
    """Serves applications until the test ends."""
    services: list[Service] = []

    def start(application: Any, **options: Any) -> Service:
        services.append(Service(application, **options))
        return services[-1]

    yield start
    for service in services:
        service.stop()


@pytest.fixture(scope="session")
def steady_database(scratch: Checkout) -> Iterator[Database]:
    """A database at head and a Redis for tests that leave them as they are, on servers that may be frozen."""
    variables = scratch.environment.variables()
    urls = {"database_url": variables["DATABASE_URL"], "redis_url": variables["REDIS_URL"]}
    database = Database(Settings(app_env="development", **urls))
    yield database
    database.close_connections(0)


@pytest.fixture(scope="session")
def steady(steady_database: Database) -> Iterator[Service]:
    """Its health endpoints."""
    service = Service(HealthApplication(lambda: Health(steady_database, deadline=5)))
    yield service
    service.stop()


@pytest.fixture
def network(steady_database: Database) -> Iterator[Proxy]:
    """The way to Postgres, which can fail."""
    assert steady_database.settings.database_url
    with Proxy(steady_database.settings.database_url.get_secret_value()) as proxy:
        yield proxy


@pytest.fixture
def database(steady_database: Database, network: Proxy) -> Iterator[Database]:
    """The steady database, behind a network that can fail."""
    way = {"database_url": SecretStr(network.url)}
    database = Database(steady_database.settings.model_copy(update=way))
    yield database
    database.close_connections(0)


@pytest.fixture
def service(database: Database, serve: Callable[..., Service]) -> Service:
    """The health endpoints of that database."""
    return serve(HealthApplication(lambda: Health(database, deadline=DEADLINE)))


class FrozenServer:
    """Stops every process of a Postgres, as a frozen machine does."""

    def __init__(self, postmaster: psutil.Process) -> None:
        self._postmaster = postmaster
        self._stopped: list[psutil.Process] = []

    def freeze(self) -> None:
        """From now on nothing is answered; the kernel still takes connections."""
        self._stopped = [self._postmaster, *self._postmaster.children(recursive=True)]
        for process in self._stopped:
            process.suspend()

    def thaw(self) -> None:
        """Go on as if nothing had been."""
        for process in self._stopped:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()
        self._stopped = []


@pytest.fixture
def frozen(scratch: Checkout) -> Iterator[FrozenServer]:
    """The scratch Postgres, to freeze; it goes on after the test."""
    if scratch.environment.state.engine != "embedded":
        pytest.skip("freezes the processes of an embedded server")
    (path,) = (scratch.root / ".drydock" / "volumes").glob("postgres-*/postmaster.pid")
    server = FrozenServer(psutil.Process(int(path.read_text().split()[0])))
    yield server
    server.thaw()
