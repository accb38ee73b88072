"""The fixtures that a project's tests ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from drydock.errors import DrydockError
from drydock.testing import namespace, options
from drydock.testing.bench import Bench

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from drydock.environment import Environment
    from drydock.testing.database import Database
    from drydock.testing.namespace import Namespace

BENCH: pytest.StashKey[Bench] = pytest.StashKey()


@pytest.fixture(scope="session")
def postgres_server(request: pytest.FixtureRequest) -> Environment:
    """The throwaway server: its ports and its roles. It is this checkout's and nobody's data is on it."""
    return _bench(request.config).server.environment


@pytest.fixture
def postgres(request: pytest.FixtureRequest, postgres_server: Environment) -> Database:  # noqa: ARG001
    """A database of this test's own, migrated to the newest revision; with seeds where the test is marked so."""
    return _hand_out(request, options.seed_size(request, ""))


@pytest.fixture
def seeded_postgres(request: pytest.FixtureRequest, postgres_server: Environment) -> Database:
    """The same with the project's seeds in it, of the size that the marker or SEED_SIZE says."""
    return _hand_out(request, options.seed_size(request, postgres_server.settings.seed_size))


@pytest.fixture
def make_postgres(request: pytest.FixtureRequest, postgres_server: Environment) -> Callable[..., Database]:  # noqa: ARG001
    """Further databases for a test that needs several: `make_postgres()` or `make_postgres("small")`.

    Safe between threads: in a coroutine, `await asyncio.to_thread(make_postgres)`.
    """

    def make(size: str = "") -> Database:
        return _hand_out(request, size)

    return make


@pytest.fixture
def redis_namespace(postgres_server: Environment) -> Iterator[Namespace]:
    """A Redis database of this test's own, empty."""
    try:
        found = namespace.open_namespace(postgres_server)
        yield found
        namespace.close_namespace(postgres_server, found)
    except DrydockError as error:
        raise _sentence(error) from None


def _bench(config: pytest.Config) -> Bench:
    """This process's bench, made on first use: a run without databases starts no server."""
    from drydock.throwaway.server import open_server

    if BENCH not in config.stash:
        try:
            server = open_server(
                options.root(config),
                engine=options.engine(config),
                idle=options.idle(config),
                data=options.data(config),
            )
            config.stash[BENCH] = Bench(server)
        except DrydockError as error:
            raise _sentence(error) from None
    return config.stash[BENCH]


def _hand_out(request: pytest.FixtureRequest, size: str) -> Database:
    try:
        return _bench(request.config).hand_out(request.node, size)
    except DrydockError as error:
        raise _sentence(error) from None


def _sentence(error: DrydockError) -> BaseException:
    """What fails the test, without a traceback through drydock."""
    return pytest.fail.Exception("\n".join(filter(None, (error.message, error.hint))), pytrace=False)
