"""Fixtures on real servers: checkouts on either engine, and a scratch Postgres for tests of the schema."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from drydock import files
from drydock.engine import choice
from tests.app.db.attacks import ISOLATION
from tests.checkout import Checkout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# A shell starts background jobs with SIGINT ignored, and every child would inherit that; Ctrl-C is under test here.
signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = ["pytester", "drydock.testing"]

ENGINES = ("docker", "embedded")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Three for the whole suite, whose tests wait as much as they compute; tests that are named run in this process."""
    return 3 if config.args_source is pytest.Config.ArgsSource.TESTPATHS else 0


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many attempts on the isolation of tenants there were: a suite that tried nothing would pass as well."""
    ended = (r for reports in terminalreporter.stats.values() for r in reports if getattr(r, "when", "") == "teardown")
    counts = [value for report in ended for name, value in report.user_properties if name == ISOLATION]
    if counts:
        attempts, leaks = map(sum, zip(*counts, strict=True))
        terminalreporter.write_line(f"tenant isolation: attempts {attempts}, leaks {leaks}")


@pytest.fixture(scope="session", autouse=True)
def _spread(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The folders of a run's tests lie apart: what one of them removes does not slow down what the next one makes."""
    files.spread(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="session")
def usable_engines() -> dict[str, str]:
    """Why each engine could not be used; empty for one that can."""
    return choice.problems()


@pytest.fixture(scope="session", params=[pytest.param(name, marks=getattr(pytest.mark, name)) for name in ENGINES])
def engine_name(request: pytest.FixtureRequest, usable_engines: dict[str, str]) -> str:
    """Each engine in turn; on a developer's machine a missing one skips, in CI it fails."""
    name: str = request.param
    require(name, usable_engines)
    return name


@pytest.fixture(scope="session")
def docker_engine(usable_engines: dict[str, str]) -> str:
    """The docker engine alone."""
    require("docker", usable_engines)
    return "docker"


@pytest.fixture(scope="session")
def embedded_engine(usable_engines: dict[str, str]) -> str:
    """The embedded engine alone."""
    require("embedded", usable_engines)
    return "embedded"


def require(name: str, problems: dict[str, str]) -> None:
    """Skip, or fail in CI, where an engine cannot be used."""
    if problems[name] and os.environ.get("CI"):
        pytest.fail(f"CI must have the {name} engine: {problems[name]}")
    if problems[name]:
        pytest.skip(problems[name])


@pytest.fixture(scope="session")
def ready(engine_name: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    """A checkout brought up once per engine, for tests that leave it as they found it."""
    checkout = Checkout(tmp_path_factory.mktemp(f"ready-{engine_name}") / "shop", ENGINE=engine_name, WAL_ARCHIVE="on")
    checkout.run("up")
    yield checkout
    checkout.remove()


@pytest.fixture
def make_checkout(tmp_path: Path) -> Iterator[Callable[..., Checkout]]:
    """Checkouts of a test's own, removed after it."""
    made: list[Checkout] = []

    def make(name: str = "shop", **variables: str) -> Checkout:
        made.append(Checkout(tmp_path / name, **variables))
        return made[-1]

    yield make
    for checkout in made:
        checkout.remove()


@pytest.fixture
def checkout(engine_name: str, make_checkout: Callable[..., Checkout]) -> Checkout:
    """A fresh checkout on each engine, not yet up."""
    return make_checkout(ENGINE=engine_name)


@pytest.fixture(scope="session")
def any_engine(usable_engines: dict[str, str]) -> str:
    """Whichever engine is quicker."""
    name = next((name for name in ("embedded", "docker") if not usable_engines[name]), "embedded")
    require(name, usable_engines)
    return name


@pytest.fixture(scope="session")
def scratch(any_engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    """A running checkout whose databases tests may create and drop at will, on whichever engine is quicker."""
    checkout = Checkout(tmp_path_factory.mktemp("scratch") / "shop", ENGINE=any_engine)
    checkout.run("up")
    yield checkout
    checkout.remove()


@pytest.fixture(scope="session")
def postgres_superuser_url(scratch: Checkout) -> str:
    """A server to make databases on, as its superuser."""
    environment = scratch.environment
    return environment.database_url(environment.superuser, "postgres")
