"""The name of a template: a hash of everything that made the database in it, so that a stale one is never cloned."""

from __future__ import annotations

import hashlib
import importlib.util
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from drydock import revisions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drydock.environment import Environment
    from drydock.settings import Settings

# A template made by another version of one of these could hide what that version does differently (pgtestdb's first
# migrator was released broken because a cached template hid it).
LIBRARIES = ("drydock", "alembic", "SQLAlchemy", "psycopg", "pgvector")


def compute(environment: Environment, size: str) -> str:
    """Sixteen hex digits for the state that migrations and seeds of `size` lead to on this engine."""
    settings = environment.settings
    result = hashlib.sha256()
    for path in _files(settings):
        result.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    facts = [
        environment.state.runs,
        size,
        settings.database,
        settings.owner,
        settings.app_user,
        settings.backup_user,
        repr(settings.project),
    ]
    for fact in (*facts, *(f"{name} {_version(name)}" for name in LIBRARIES)):
        result.update(fact.encode() + b"\0")
    return result.hexdigest()[:16]


def _files(settings: Settings) -> Iterator[Path]:
    yield from revisions.files(settings)
    project = settings.project
    for reference in (project.seeds, project.metadata):
        if reference.endswith(".sql"):
            yield settings.root / reference
        elif reference:
            yield from _package_files(settings, reference.partition(":")[0])
    for pattern in project.fingerprint:
        yield from sorted(path for path in settings.root.glob(pattern) if path.is_file())


def _package_files(settings: Settings, module: str) -> list[Path]:
    """The Python files of the top package that `module` belongs to, found without importing it."""
    top = module.partition(".")[0]
    for folder in (settings.root / "src", settings.root):
        if (folder / top).is_dir():
            return sorted((folder / top).rglob("*.py"))
        if (folder / f"{top}.py").exists():
            return [folder / f"{top}.py"]
    spec = importlib.util.find_spec(top)
    return (
        sorted(path for place in (spec.submodule_search_locations or ()) for path in Path(place).rglob("*.py"))
        if spec
        else []
    )


@cache
def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"
