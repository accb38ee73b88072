"""What a project can say to the plugin: options of pytest and of its configuration file, and a marker."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from drydock.throwaway.identity import ENGINES
from drydock.throwaway.server import IDLE

if TYPE_CHECKING:
    from pathlib import Path

KEEP = ("never", "failed", "all")
SIZES = ("small", "medium", "large")
MARKER = "drydock_seed(size): the databases of this test hold the project's seeds: small, medium or large"
MARKS_OF_A_ROOT = ("tasks.py", "alembic.ini", ".drydock")


def add(parser: pytest.Parser) -> None:
    """Declare every option, with its help."""
    group = parser.getgroup("drydock", "a database per test (drydock)")
    group.addoption("--drydock-keep", choices=KEEP, help="whose databases stay after the run (default: failed)")
    parser.addini("drydock_keep", f"whose databases stay after the run: {', '.join(KEEP)}", default="failed")
    parser.addini("drydock_engine", f"what runs the servers for tests: {', '.join(ENGINES)}", default="auto")
    parser.addini("drydock_idle", "seconds that they go on unused; 0 stops them with the run", default=str(IDLE))
    parser.addini(
        "drydock_data", "where their data is: auto (in memory if there is room), disk, or a folder", default="auto"
    )


def check(config: pytest.Config) -> None:
    """Read every option once.

    Raises:
        UsageError: for the first that makes no sense.
    """
    for read in (keep, engine, idle, data):
        read(config)


def keep(config: pytest.Config) -> str:
    """Whose databases stay: none of a run that takes its server along, unless the command line says so."""
    configured = _one_of(config, "drydock_keep", KEEP)
    return str(config.getoption("--drydock-keep") or (configured if idle(config) else "never"))


def engine(config: pytest.Config) -> str:
    """What is to run the servers."""
    return _one_of(config, "drydock_engine", ENGINES)


def idle(config: pytest.Config) -> float:
    """Seconds that unused servers go on.

    Raises:
        UsageError: where it is no number.
    """
    text = str(config.getini("drydock_idle"))
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1
    if not seconds >= 0:
        raise _usage(f"drydock_idle: {text!r} is not a number of seconds")
    return seconds


def data(config: pytest.Config) -> str:
    """Where the data is to be."""
    return str(config.getini("drydock_data"))


def root(config: pytest.Config) -> Path:
    """The checkout: the nearest folder at or above pytest's root that drydock or Alembic is set up in."""
    start = config.rootpath
    found = (folder for folder in (start, *start.parents) if any((folder / mark).exists() for mark in MARKS_OF_A_ROOT))
    return next(found, start)


def seed_size(request: pytest.FixtureRequest, default: str) -> str:
    """The size that the test's marker asks for, else `default`.

    Raises:
        UsageError: where the marker names none that exists.
    """
    marker = request.node.get_closest_marker("drydock_seed")
    if marker is None:
        return default
    size = marker.args[0] if len(marker.args) == 1 else None
    if size not in SIZES:
        raise _usage(f"@pytest.mark.drydock_seed takes one of {', '.join(SIZES)}, not {size!r}")
    return str(size)


def _one_of(config: pytest.Config, name: str, allowed: tuple[str, ...]) -> str:
    value = str(config.getini(name))
    if value not in allowed:
        raise _usage(f"{name}: {value!r} is not one of {', '.join(allowed)}")
    return value


def _usage(problem: str) -> Exception:
    return pytest.UsageError(problem)
