"""A project whose tests use drydock.testing: a folder with migrations, driven through pytest's own pytester."""

from __future__ import annotations

import re
import shlex
import subprocess
from typing import TYPE_CHECKING, Any

from drydock import postgres
from drydock.settings import load
from drydock.throwaway import identity

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from drydock.environment import Environment

PLUGIN = 'pytest_plugins = ["drydock.testing"]\n'
KEPT = re.compile(r"-+ database kept by drydock -+\n(\S+)\n(.+)\n")


def run(pytester: pytest.Pytester, root: Path, code: str, *options: str) -> pytest.RunResult:
    """Run `code` as the only test module of the project at `root`; every warning is an error."""
    pytester.makeconftest(PLUGIN)
    pytester.makepyfile(code)
    return pytester.runpytest_subprocess("--rootdir", str(root), "-p", "no:cacheprovider", "-W", "error", *options)


def server(root: Path, engine: str = "embedded") -> Environment:
    """The throwaway server of a project, as recorded."""
    found = identity.recorded(identity.settings_for(load(root), engine))
    assert found is not None
    return found


def query(environment: Environment, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
    """Rows of one statement as the superuser."""
    with postgres.connect(environment, environment.superuser, database) as connection:
        return connection.execute(statement.encode()).fetchall()


def clones(root: Path) -> list[str]:
    """The databases that tests have left on the project's server, kept ones included."""
    rows = query(server(root), "SELECT datname FROM pg_database WHERE datname LIKE 'test\\_%' ORDER BY 1")
    return [str(row[0]) for row in rows]


def connect_as_told(result: pytest.RunResult, statement: str) -> str:
    """What the command that a report prints answers to a statement."""
    found = KEPT.search(result.stdout.str())
    assert found, result.stdout.str()
    command = [*shlex.split(found.group(2)), "-Atc", statement]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
