"""A project whose tests use drydock.testing: a folder with migrations, driven through pytest's own pytester."""

from __future__ import annotations

import os
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
    """Run `code` as the only test module of the project at `root`, in this process; every warning is an error."""
    return pytester.runpytest_inprocess(*_arguments(pytester, root, code), *options)


def run_apart(pytester: pytest.Pytester, root: Path, code: str, *options: str) -> pytest.RunResult:
    """The same in a process of its own, which may be killed."""
    return pytester.runpytest_subprocess(*_arguments(pytester, root, code), *options)


def _arguments(pytester: pytest.Pytester, root: Path, code: str) -> list[str]:
    pytester.makeconftest(PLUGIN)
    pytester.makepyfile(code)
    return ["--rootdir", str(root), "-p", "no:cacheprovider", "-W", "error"]


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
    command = [*shlex.split(found.group(2)), "-P", "pager=off", "-Atc", statement]
    # `docker exec -it` wants a terminal to read from; this one has no height, and psql would page.
    keyboard, terminal = os.openpty()
    try:
        return subprocess.run(
            command, stdin=terminal, stdout=subprocess.PIPE, text=True, check=True, timeout=30
        ).stdout.strip()
    finally:
        os.close(keyboard)
        os.close(terminal)
