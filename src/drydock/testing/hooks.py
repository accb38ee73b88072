"""pytest's hooks: options, and what becomes of a test's databases once its outcome is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from drydock.errors import DrydockError
from drydock.testing import options
from drydock.testing.fixtures import BENCH

if TYPE_CHECKING:
    from collections.abc import Callable, Generator


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the plugin's options."""
    options.add(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Declare the plugin's marker, and refuse wrong options before anything runs."""
    config.addinivalue_line("markers", options.MARKER)
    options.check(config)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep a failed test's databases and say so in its report; take all others back when the test is over."""
    report = yield
    bench, keep = item.config.stash.get(BENCH, None), options.keep(item.config)
    if bench is None:
        return report
    if keep == "all" or (keep == "failed" and report.failed):
        _tell(report, lambda: bench.keep(item))
    if call.when == "teardown":
        _tell(report, lambda: bench.take_back(item))
    return report


def _tell(report: pytest.TestReport, work: Callable[[], str]) -> None:
    """Put what became of a test's databases into its report; a server that is gone must not end the run."""
    try:
        told = work()
    except DrydockError as error:
        told = error.message
    if told:
        report.sections.append(("database kept by drydock", told))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Remove what is not kept, and give the server up."""
    bench = session.config.stash.get(BENCH, None)
    if bench is None:
        return
    del session.config.stash[BENCH]
    try:
        bench.close()
    except DrydockError as error:
        session.config.issue_config_time_warning(pytest.PytestWarning(f"drydock: {error.message}"), stacklevel=2)
