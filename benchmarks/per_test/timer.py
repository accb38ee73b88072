"""A plugin that writes down what each test took, as pytest reports it: seconds of setup, call and teardown."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest

FACTS: dict[str, Any] = json.loads(os.environ["PER_TEST"])
_phases: dict[str, dict[str, float]] = {}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """As many tests as asked for."""
    metafunc.parametrize("number", range(FACTS["tests"]))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note one phase."""
    _phases.setdefault(report.nodeid, {})[report.when] = report.duration


def pytest_sessionfinish() -> None:
    """Write all of them down, in the order in which the tests ran."""
    Path(FACTS["report"]).write_text(json.dumps(list(_phases.values())), encoding="utf-8")
