"""The migration files of a project: where they are, which are newest, and what a revision is called."""

from __future__ import annotations

import configparser
import hashlib
import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from drydock.errors import DrydockError, MigrationError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from alembic.config import Config
    from alembic.script import ScriptDirectory

    from drydock.environment import Environment
    from drydock.postgres import Connection
    from drydock.settings import Settings

BROKEN = "Look at the files: git status, git log -- migrations"
KEPT = 8  # hashes of migration folders whose heads are remembered: as many branches as one switches between


def heads(environment: Environment) -> list[str]:
    """The newest revisions of the files; more than one where branches were not merged.

    Remembered by a hash of the files, as reading them with Alembic takes longer than `invoke status` may.

    Raises:
        MigrationError: where Alembic cannot make sense of the files.
    """
    if not environment.settings.project.alembic:
        return []
    key = files_hash(environment.settings)
    known = environment.state.heads
    if key not in known:
        found = {key: sorted(script_directory(environment.settings).get_heads())}
        recent = dict(list(known.items())[-KEPT + 1 :])
        environment.record(heads={**recent, **found})
    return environment.state.heads[key]


def applied(settings: Settings, connection: Connection) -> list[str]:
    """The revisions the connected database is at; several only between branches, none before the first migration."""
    from psycopg import sql

    table = settings.project.version_table
    if connection.execute("SELECT to_regclass(%s) IS NOT NULL", (table,)).fetchone() != (True,):
        return []
    name = sql.Identifier(*table.split("."))
    return [str(row[0]) for row in connection.execute(sql.SQL("SELECT version_num FROM {} ORDER BY 1").format(name))]


def files_hash(settings: Settings) -> str:
    """Hash of every migration file, by path and content."""
    result = hashlib.sha256()
    for path in files(settings):
        result.update(str(path.relative_to(settings.root)).encode() + b"\0" + path.read_bytes() + b"\0")
    return result.hexdigest()[:16]


def files(settings: Settings) -> Iterator[Path]:
    """alembic.ini and all below the script folder that decides what a migration does, sorted."""
    if not settings.project.alembic:
        return
    yield settings.root / settings.project.alembic
    for folder in _folders(settings):
        yield from sorted(path for path in folder.rglob("*") if path.suffix in {".py", ".sql", ".mako"})


def configuration(settings: Settings, url: str = "", output: io.StringIO | None = None) -> Config:
    """Alembic's configuration of the project, pointed at `url`.

    Raises:
        MigrationError: where the project has no alembic.ini.
    """
    from alembic.config import Config

    path = settings.root / settings.project.alembic
    if not settings.project.alembic or not path.exists():
        raise MigrationError(
            "This project has no alembic.ini.", hint="Name it in pyproject.toml: [tool.drydock] alembic."
        )
    config = Config(path, stdout=output or io.StringIO())
    # Alembic puts the folder in unescaped, and a percent sign in a path ends in an InterpolationSyntaxError.
    config.file_config.set("DEFAULT", "here", _escaped(path.parent.absolute().as_posix()))
    if url:
        config.set_main_option("sqlalchemy.url", _escaped(url))
        # The custom among Alembic projects: an env.py that sets logging up asks this first.
        config.attributes.update(configure_logger=False, migration_lock_held=True, url=url)
    return config


def script_directory(settings: Settings) -> ScriptDirectory:
    """Alembic's view of the files.

    Raises:
        MigrationError: where it has none, with Alembic's words.
    """
    from alembic.script import ScriptDirectory

    try:
        with warnings.catch_warnings(action="ignore"):
            directory = ScriptDirectory.from_config(configuration(settings))
            list(directory.walk_revisions())
    except KeyError as error:
        # Alembic only warns of a revision that another one refers to and no file has, and trips over it later.
        raise MigrationError(f"A migration builds on revision {error}, which no file has.", hint=BROKEN) from error
    except DrydockError:
        raise
    except Exception as error:  # the files are the project's own Python: anything can come out of them
        reason = str(error).strip().rstrip(".") or type(error).__name__
        raise MigrationError(f"The migrations cannot be read: {reason}.", hint=BROKEN) from error
    return directory


def _escaped(text: str) -> str:
    """Text as a value in an .ini file, where a percent sign begins a reference."""
    return text.replace("%", "%%")


def _folders(settings: Settings) -> list[Path]:
    """The script folder and any version_locations of alembic.ini."""
    path = settings.root / settings.project.alembic
    # Alembic's own interpolation: %(here)s is the folder of the file.
    parser = configparser.ConfigParser({"here": _escaped(str(path.parent))})
    parser.read(path, encoding="utf-8")
    if not parser.has_option("alembic", "script_location"):
        raise MigrationError(f"{path} names no script_location.", hint="See [tool.drydock] alembic in the README.")
    listed = [parser.get("alembic", "script_location")]
    listed += parser.get("alembic", "version_locations", fallback="").replace(",", " ").split()
    folders = [Path(item) if Path(item).is_absolute() else path.parent / item for item in listed]
    missing = [str(folder) for folder in folders[:1] if not folder.is_dir()]
    if missing:
        raise MigrationError(f"The migrations folder {missing[0]} does not exist.")
    return folders
