"""Databases cloned from templates, for one process: the next one is made while a test uses the last."""

from __future__ import annotations

import itertools
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import sql

from drydock import postgres
from drydock.throwaway.dressing import Dressing
from drydock.throwaway.errands import Errand, Errands, GoneError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from drydock.environment import Environment

PREFIX = "test_"
KEPT = 10  # databases of failed tests that one process keeps, and that stay from earlier runs

# What is kept has a comment.
_LEFT = """
SELECT datname FROM pg_database WHERE starts_with(datname, %(prefix)s) AND shobj_description(oid, 'pg_database') IS NULL
UNION ALL
(SELECT datname FROM pg_database
 WHERE starts_with(datname, %(prefix)s) AND shobj_description(oid, 'pg_database') IS NOT NULL
 ORDER BY oid::bigint DESC OFFSET %(kept)s)
"""


def left_behind(environment: Environment) -> list[str]:
    """The databases of killed runs, and those kept longest ago. Ask only while nobody uses the server."""
    with postgres.administer(environment) as connection:
        return [str(name) for (name,) in connection.execute(_LEFT, {"prefix": PREFIX, "kept": KEPT}).fetchall()]


@dataclass(frozen=True)
class Spare:
    """A clone that is being made or waits for its test."""

    name: str
    errand: Errand


class Clones:
    """The clones of one process. What it made and did not keep is gone when it is closed, or when the next run begins.

    Args:
        environment: of the throwaway server.
        left_behind: databases to remove on the side.

    Raises:
        DrydockError: where the server does not answer or is not ours.
    """

    def __init__(self, environment: Environment, left_behind: Iterable[str] = ()) -> None:
        self._environment = environment
        self._token = secrets.token_hex(4)
        self._numbers = itertools.count(1)
        self._dressings: dict[str, Dressing] = {}
        self._spares: dict[str, Spare] = {}
        self._made: set[str] = set()
        self._condemned = ""
        self._kept = 0
        self._maker, self._remover = self._errands(), self._errands()
        for name in left_behind:
            self._remove(name)

    def take(self, template: str) -> str:
        """A database of the caller's own, equal to the template.

        Raises:
            DrydockError: where it cannot be made.
        """
        try:
            return self._take(template)
        except GoneError:
            # A test may end every session on the server, ours too.
            self._reconnect()
            return self._take(template)

    def condemn(self, name: str) -> None:
        """Have a database removed. It happens one later: who is just leaving it would hold that up for 100 ms."""
        if self._condemned:
            self._remove(self._condemned)
        self._condemned = name

    def keep(self, name: str, reason: str) -> bool:
        """Keep a database beyond this run; False where enough are kept already, and it is condemned."""
        if self._kept >= KEPT:
            self.condemn(name)
            return False
        self._kept += 1
        self._made.discard(name)
        comment = sql.SQL("COMMENT ON DATABASE {} IS {}").format(sql.Identifier(name), sql.Literal(reason))
        self._remover.finish(self._clear_up(f"keep {name}", comment))
        return True

    def close(self) -> None:
        """Remove everything that is not kept, and leave.

        Raises:
            DrydockError: where a database could not be removed.
        """
        try:
            self._maker.close()
        except GoneError:
            self._reconnect()
            self._maker.close()
        finally:
            for name in sorted(self._made):
                self._remove(name)
            self._remover.close()

    def _take(self, template: str) -> str:
        spare = self._spares.pop(template, None) or self._order(template)
        self._maker.finish(spare.errand)
        self._spares[template] = self._order(template)
        return spare.name

    def _reconnect(self) -> None:
        """Begin with new connections; what was under way on the old ones is removed at the end, if it came about."""
        for errands in (self._maker, self._remover):
            errands.connection.close()
        self._spares.clear()
        self._maker, self._remover = self._errands(), self._errands()

    def _errands(self) -> Errands:
        return Errands(postgres.administer(self._environment))

    def _order(self, template: str) -> Spare:
        if template not in self._dressings:
            with postgres.administer(self._environment) as connection:
                self._dressings[template] = Dressing(connection, template)
        name = f"{PREFIX}{self._token}_{next(self._numbers)}"
        self._made.add(name)
        # FILE_COPY: in memory twice as quick as WAL_LOG for a bare schema, five to twelve times for seeds on a disk.
        create = sql.SQL(
            "CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY OWNER {} ALLOW_CONNECTIONS true IS_TEMPLATE false"
        ).format(sql.Identifier(name), sql.Identifier(template), sql.Identifier(self._environment.owner.name))
        statements = [create, *self._dressings[template].statements(name)]
        return Spare(name, self._maker.send(f"clone {template}", statements))

    def _remove(self, name: str) -> None:
        self._made.discard(name)
        statement = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
        self._clear_up(f"remove {name}", statement)

    def _clear_up(self, purpose: str, statement: sql.Composed) -> Errand:
        try:
            return self._remover.send(purpose, [statement])
        except GoneError:
            self._reconnect()
            return self._remover.send(purpose, [statement])
