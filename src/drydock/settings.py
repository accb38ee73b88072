"""Every setting: read from the process environment, .env and [tool.drydock] in pyproject.toml, checked once, frozen.

Plain dataclasses on purpose: `invoke status` has about 140 ms beyond Invoke's own start, and importing
pydantic-settings alone takes twice that (measured; see benchmarks/RESULTS.md for the commands).
"""

from __future__ import annotations

import io
import os
import tomllib
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drydock import rules
from drydock.errors import SettingsError, word
from drydock.rules import variable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MARKERS = ("tasks.py", ".drydock")
SECRETS = (
    "POSTGRES_PASSWORD",
    "POSTGRES_OWNER_PASSWORD",
    "POSTGRES_APP_PASSWORD",
    "POSTGRES_BACKUP_PASSWORD",
    "POSTGRES_REPLICATION_PASSWORD",
    "REDIS_PASSWORD",
)


@dataclass(frozen=True, kw_only=True)
class Project:
    """What a repository says of itself in [tool.drydock] of its pyproject.toml.

    Attributes:
        name: how its containers and volumes begin; the folder's name where unset.
        alembic: path of alembic.ini below the root; empty where the project has no migrations.
        metadata: `module:attribute` of the SQLAlchemy metadata, for the drift check; may be empty.
        seeds: `module:function` called with a psycopg connection, or a path to a .sql file; may be empty.
        fingerprint: globs of further files that make a template database out of date.
        extensions: extensions that must exist in the application's database.
        version_table: Alembic's version table.
        health: `module:function` that returns an application/health+json document; may be empty.
        serve: `module:attribute` of the ASGI application that `invoke serve` runs; may be empty.
    """

    name: str = ""
    alembic: str = ""
    metadata: str = ""
    seeds: str = ""
    fingerprint: tuple[str, ...] = ()
    extensions: tuple[str, ...] = ("vector",)
    version_table: str = "alembic_version"
    health: str = ""
    serve: str = ""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All settings of one checkout. Sizes are as the servers take them, durations are seconds.

    `throwaway` is for the server that tests share (drydock.testing): beside the checkout's own, and not durable.
    """

    root: Path
    project: Project = Project()
    throwaway: bool = False
    app_env: str = variable("APP_ENV", "development", rules.choice("development", "test", "staging", "production"))
    engine: str = variable("ENGINE", "auto", rules.choice("auto", "docker", "embedded"))
    postgres_port: int | None = variable("POSTGRES_PORT", None, rules.PORT)
    redis_port: int | None = variable("REDIS_PORT", None, rules.PORT)
    ports: str = variable("PORTS", "sticky", rules.choice("sticky", "auto"))
    postgres_image: str = variable("POSTGRES_IMAGE", "pgvector/pgvector:pg16", rules.IMAGE)
    redis_image: str = variable("REDIS_IMAGE", "redis:7-alpine", rules.IMAGE)
    images: str = variable("IMAGES", "auto", rules.choice("auto", "pull", "build"))
    database: str = variable("POSTGRES_DB", "app", rules.NAME)
    owner: str = variable("POSTGRES_OWNER", "app_owner", rules.NAME)
    app_user: str = variable("POSTGRES_APP_USER", "app", rules.NAME)
    backup_user: str = variable("POSTGRES_BACKUP_USER", "app_backup", rules.NAME)
    replication_user: str = variable("POSTGRES_REPLICATION_USER", "app_replication", rules.NAME)
    postgres_password: str = variable("POSTGRES_PASSWORD", "", rules.SECRET, secret=True)
    owner_password: str = variable("POSTGRES_OWNER_PASSWORD", "", rules.SECRET, secret=True)
    app_password: str = variable("POSTGRES_APP_PASSWORD", "", rules.SECRET, secret=True)
    backup_password: str = variable("POSTGRES_BACKUP_PASSWORD", "", rules.SECRET, secret=True)
    replication_password: str = variable("POSTGRES_REPLICATION_PASSWORD", "", rules.SECRET, secret=True)
    redis_password: str = variable("REDIS_PASSWORD", "", rules.SECRET, secret=True)
    postgres_memory: str = variable("POSTGRES_MEMORY", "2g", rules.SIZE)
    postgres_shm: str = variable("POSTGRES_SHM", "1g", rules.SIZE)
    redis_memory: str = variable("REDIS_MEMORY", "512m", rules.SIZE)
    redis_maxmemory: str = variable("REDIS_MAXMEMORY", "256mb", rules.REDIS_SIZE)
    redis_maxmemory_policy: str = variable("REDIS_MAXMEMORY_POLICY", "noeviction", rules.choice(*rules.POLICIES))
    seed_size: str = variable("SEED_SIZE", "small", rules.choice("small", "medium", "large"))
    backup_folder: str = variable("BACKUP_FOLDER", "backups", rules.PATH)
    # Public keys and addresses are no secret; the private key that somebody pastes there by mistake is.
    backup_recipients: tuple[str, ...] = variable("BACKUP_RECIPIENTS", (), rules.RECIPIENTS, secret=True)
    backup_identity: str = variable("BACKUP_IDENTITY", "", rules.PATH)
    backup_keep_last: int = variable("BACKUP_KEEP_LAST", 7, rules.COUNT)
    backup_keep_daily: int = variable("BACKUP_KEEP_DAILY", 7, rules.COUNT)
    backup_keep_weekly: int = variable("BACKUP_KEEP_WEEKLY", 4, rules.COUNT)
    backup_keep_monthly: int = variable("BACKUP_KEEP_MONTHLY", 6, rules.COUNT)
    backup_max_age: float | None = variable("BACKUP_MAX_AGE", None, rules.HOURS)
    backup_scheduler: str = variable("BACKUP_SCHEDULER", "auto", rules.choice("auto", *rules.SCHEDULERS))
    wal_archive: bool = variable("WAL_ARCHIVE", True, rules.SWITCH)  # noqa: FBT003 - a default
    wal_archive_synchronous: bool = variable("WAL_ARCHIVE_SYNCHRONOUS", False, rules.SWITCH)  # noqa: FBT003 - as above
    base_backup_wal: int = variable("BASE_BACKUP_WAL", 1 << 30, rules.BYTES)
    recovery_window: float = variable("RECOVERY_WINDOW", 168.0, rules.HOURS)
    recovery_disk: int = variable("RECOVERY_DISK", 10 << 30, rules.BYTES)
    backup_repository: str = variable("BACKUP_REPOSITORY", "", rules.REPOSITORY, secret=True)
    ready_timeout: float = variable("READY_TIMEOUT", 60.0, rules.SECONDS)
    lock_timeout: float = variable("LOCK_TIMEOUT", 300.0, rules.SECONDS)

    @property
    def dotenv(self) -> Path:
        """The checkout's .env."""
        return self.root / ".env"

    @property
    def folder(self) -> Path:
        """Where drydock keeps what belongs to this checkout, or to its throwaway server on that engine."""
        home = self.root / ".drydock"
        return home / f"test-{self.engine}" if self.throwaway else home

    @property
    def backups(self) -> Path:
        """Where backups of every kind are kept."""
        return self.root / Path(self.backup_folder).expanduser()

    @property
    def identity(self) -> Path | None:
        """The file with the private key that opens encrypted backups, or None."""
        return self.root / Path(self.backup_identity).expanduser() if self.backup_identity else None

    @property
    def archiving(self) -> bool:
        """True where the WAL is archived: never for the throwaway servers of tests."""
        return self.wal_archive and not self.throwaway

    @property
    def synchronous(self) -> bool:
        """True where a commit returns only once the archive has it."""
        return self.archiving and self.wal_archive_synchronous

    @property
    def production(self) -> bool:
        """True where no task may destroy anything."""
        return self.app_env == "production"


@cache
def variables() -> Mapping[str, tuple[str, str]]:
    """Every environment variable with its attribute and what it may hold, in the order of Settings."""
    return {f.metadata["name"]: (f.name, f.metadata["allowed"]) for f in fields(Settings) if "name" in f.metadata}


def find_root(start: Path | None = None) -> Path:
    """The nearest folder at or above `start` (default: the working directory) that drydock can serve.

    Raises:
        SettingsError: where no folder up to the root of the file system has a tasks.py.
    """
    folder = (start or Path.cwd()).resolve()
    for candidate in (folder, *folder.parents):
        if any((candidate / marker).exists() for marker in MARKERS):
            return candidate
    raise SettingsError(f"No tasks.py at or above {folder}.", hint="Change into a checkout that uses drydock.")


def read_dotenv(path: Path) -> dict[str, str]:
    """The variables of a .env file; empty where it does not exist.

    Raises:
        SettingsError: where it cannot be read or is not UTF-8.
    """
    from dotenv import dotenv_values

    try:
        values = dotenv_values(stream=io.StringIO(path.read_text("utf-8")), interpolate=False) if path.exists() else {}
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"Cannot read {path}: {error}.", hint=f"Check its owner and mode: ls -l {word(path)}"
        ) from error
    return {name: value for name, value in values.items() if value is not None}


def application_variables(settings: Settings) -> dict[str, str]:
    """The lines of .env that are the application's own: none of drydock's, none that the process environment has."""
    return {
        name: value
        for name, value in read_dotenv(settings.dotenv).items()
        if name not in variables() and name not in os.environ
    }


def store_variables(settings: Settings) -> dict[str, str]:
    """The standard variables of object stores, from .env and the process environment, which wins."""
    given = read_dotenv(settings.dotenv) | os.environ
    return {name: given[name] for name in rules.STORE_VARIABLES if given.get(name)}


def kill_at() -> str:
    """The fault point at which a test wants this process to end; empty outside of tests."""
    return os.environ.get("DRYDOCK_KILL_AT", "")


def colourless() -> bool:
    """True where the user wants no colours: NO_COLOR is not empty (no-color.org)."""
    return bool(os.environ.get("NO_COLOR"))


def child_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """The process environment for a child process, with `extra` on top."""
    return {**os.environ, **extra}


@contextmanager
def exported(values: Mapping[str, str]) -> Iterator[None]:
    """Set variables of this process while the body runs: for a project's own code that reads its environment."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def load(root: Path | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """Read and check all settings of the checkout at `root`.

    Args:
        root: the checkout; found from the working directory by default.
        environ: stands in for the process environment.

    Raises:
        SettingsError: naming every malformed variable with what it may hold.
    """
    root = root or find_root()
    environ = os.environ if environ is None else environ
    given = read_dotenv(root / ".env") | {name: environ[name] for name in variables() if environ.get(name)}
    values, problems = {}, []
    for f in fields(Settings):
        text = given.get(f.metadata.get("name", ""), "").strip()
        if not text:
            continue
        try:
            values[f.name] = f.metadata["parse"](text)
        except ValueError:
            shown = "its value" if not f.repr else repr(text)
            problems.append(f"{f.metadata['name']}: {shown} is not {f.metadata['allowed']}")
    settings = Settings(root=root, project=_project(root), **values)
    problems += _conflicts(settings)
    if problems:
        raise SettingsError("; ".join(problems) + ".", hint=f"Correct it in {root / '.env'} or in the environment.")
    return settings


def _conflicts(settings: Settings) -> list[str]:
    """Values that are each allowed and cannot be had together."""
    problems = []
    if settings.postgres_port and settings.postgres_port == settings.redis_port:
        problems.append(f"POSTGRES_PORT and REDIS_PORT are both {settings.postgres_port}")
    roles = (settings.owner, settings.app_user, settings.backup_user, settings.replication_user, "postgres")
    if len(set(roles)) < len(roles):
        problems.append(
            "POSTGRES_OWNER, POSTGRES_APP_USER, POSTGRES_BACKUP_USER, POSTGRES_REPLICATION_USER and the superuser"
            " postgres must be five different roles"
        )
    if settings.database in {"postgres", "template0", "template1"}:
        problems.append(f"POSTGRES_DB: {settings.database!r} is one of the server's own databases")
    if settings.identity and settings.identity.resolve().is_relative_to(settings.backups.resolve()):
        problems.append("BACKUP_IDENTITY lies in BACKUP_FOLDER: whoever gets the backups would get their key")
    return problems


def package_name(root: Path) -> str:
    """The name in [project] of the checkout's pyproject.toml; empty where it has none."""
    return str(_pyproject(root).get("project", {}).get("name", ""))


def _project(root: Path) -> Project:
    table = _pyproject(root).get("tool", {}).get("drydock")
    return _default_project(root) if table is None else Project(**_checked(table, root / "pyproject.toml"))


def _pyproject(root: Path) -> dict[str, Any]:
    path = root / "pyproject.toml"
    if not path.exists():
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"Cannot read {path}: {error}.") from error


def _default_project(root: Path) -> Project:
    """What is assumed of a repository that says nothing."""
    return Project(alembic="alembic.ini" if (root / "alembic.ini").exists() else "")


def _checked(table: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """The [tool.drydock] table with its lists frozen, or the one error that names each wrong key."""
    kinds = {f.name: tuple if "tuple" in str(f.type) else str for f in fields(Project)}
    result: dict[str, Any] = {}
    problems = []
    for key, value in table.items():
        name = key.replace("-", "_")
        if name not in kinds:
            problems.append(f"{key} is unknown (known: {', '.join(sorted(kinds))})")
        elif kinds[name] is tuple and isinstance(value, list) and all(isinstance(item, str) for item in value):
            result[name] = tuple(value)
        elif kinds[name] is str and isinstance(value, str):
            result[name] = value
        else:
            problems.append(f"{key} must be {'a list of strings' if kinds[name] is tuple else 'a string'}")
    if problems:
        raise SettingsError(f"[tool.drydock] in {path}: {'; '.join(problems)}.")
    return result
