"""Where the migrations of this code end, to compare with where the database is."""

from __future__ import annotations

from configparser import ConfigParser
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from app.health.check import Check, Status

if TYPE_CHECKING:
    from pathlib import Path

NAME = "postgres:migration"


@dataclass(frozen=True)
class Migrations:
    """What the migration files say.

    Attributes:
        heads: the newest revisions.
        known: every revision.
    """

    heads: frozenset[str]
    known: frozenset[str]

    def check(self, current: frozenset[str]) -> Check:
        """The database's revisions against these.

        A database that is ahead of the code is the usual state while a release rolls out (expand, then contract): it
        serves. One that lags behind lacks what the code will ask for.
        """
        shown = ", ".join(sorted(current))
        details = {"expectedValue": ", ".join(sorted(self.heads))}
        if current == self.heads:
            return Check(name=NAME, value=shown, details=details)
        if current - self.known:
            output = "the database is at a revision that this code does not know, which a newer release has made"
            return Check(name=NAME, status=Status.WARN, value=shown, output=output, details=details)
        output = "the database lags behind this code's migrations"
        return Check(name=NAME, status=Status.FAIL, value=shown or None, output=output, details=details)


@cache
def find(start: Path) -> Migrations | None:
    """The migrations of the nearest alembic.ini at or above `start`; None where a deployment has none along.

    They are read once: the files of a running release do not change.
    """
    for folder in (start, *start.parents):
        path = folder / "alembic.ini"
        if path.exists():
            return read(path)
    return None


def read(path: Path) -> Migrations:
    """The migrations that an alembic.ini names.

    Raises:
        alembic.util.CommandError: where their files contradict one another.
    """
    from alembic.script import ScriptDirectory

    parser = ConfigParser({"here": str(path.parent)})
    parser.read(path, encoding="utf-8")
    directory = ScriptDirectory(str(path.parent / parser.get("alembic", "script_location")))
    known = frozenset(script.revision for script in directory.walk_revisions())
    return Migrations(frozenset(directory.get_heads()), known)
