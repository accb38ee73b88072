"""What a dump that drydock did not make brought along, and what could not be carried over, by kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SHOWN = 8  # as many names or failures as one reads


@dataclass(frozen=True)
class Failure:
    """One statement that the server refused: its beginning, and the server's reason."""

    statement: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Carried:
    """What loading a dump came to.

    Attributes:
        form: what the dump was, for people.
        tables: how many the database has now.
        rows: that the dump's COPY and INSERT statements brought.
        revisions: of the project's migrations, as the dump has them; several only between branches.
        versioned: False where the dump has no version table: it says nothing of migrations.
        owners: roles that the dump's objects belonged to; they belong to the environment's owner now.
        roles: that do not exist here, to whom the dump grants something.
        defaults: roles whose default privileges, for objects to come, were not taken over: the environment has its own.
        extensions: that this server does not have, or would not create.
        settings: that this server does not know or would not set, with the values asked for.
        commands: of psql, which were not executed.
        server_wide: kinds of statements about the server rather than a database, which were not executed.
        failures: every other statement that the server refused, in the dump's order.
        opened: schemas whose tables the application may now read and change because the dump grants it nothing.
    """

    form: str
    tables: int
    rows: int
    revisions: tuple[str, ...]
    versioned: bool
    owners: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    defaults: tuple[str, ...] = ()
    extensions: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
    server_wide: tuple[str, ...] = ()
    failures: tuple[Failure, ...] = ()
    opened: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """True where every object and row of the dump is there; owners, rights and settings may still differ."""
        return not (self.failures or self.extensions)

    def lines(self, owner: str, app: str) -> Iterator[str]:
        """What people should know, a sentence each.

        Args:
            owner: the role that owns all of it now.
            app: the application's role.
        """
        yield f"{self.form}: {_count(self.tables, 'table')}, {_count(self.rows, 'row')}"
        if others := [name for name in self.owners if name != owner]:
            yield f"Owned by {owner} now, by {_names(others)} where it came from."
        if self.roles:
            yield f"Not granted, for these roles do not exist here: {_names(self.roles)}."
        if others := [name for name in self.defaults if name != owner]:
            yield f"Default privileges of {_names(others)} stay behind: this environment has its own."
        if self.opened:
            yield f"The dump grants {app} nothing, so it may read and change all tables of {_names(self.opened)}."
        if self.settings:
            yield f"Settings this server does not take: {_names(self.settings)}."
        if self.server_wide:
            yield f"Not executed, for it concerns the whole server: {_names(self.server_wide)}."
        if self.commands:
            yield f"Commands of psql, not executed: {_names(self.commands)}."
        if self.extensions:
            yield f"Extensions this server does not have: {_names(self.extensions)}."
        yield from self._failed()
        if not self.versioned:
            yield "The dump has no version table of the migrations, so that they would all run on it."

    def _failed(self) -> Iterator[str]:
        if not self.failures:
            return
        yield f"{_count(len(self.failures), 'statement')} failed:"
        for failure in self.failures[:SHOWN]:
            yield f"  {failure.statement}: {failure.reason}"
        if len(self.failures) > SHOWN:
            yield f"  … and {len(self.failures) - SHOWN} more"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _names(names: Iterable[str]) -> str:
    found = list(names)
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return ", ".join(found[:SHOWN]) + more
