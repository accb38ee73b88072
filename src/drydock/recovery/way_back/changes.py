"""Every change of the data leaves a way back: a mark first, a note in the journal, and only then the change.

The database that is about to be replaced gets the journal entry's id as a setting of its own. It keeps that under
whatever name, in a copy of the cluster too, and no copy of the database has it: so it can be told what a kill left.
"""

from __future__ import annotations

import secrets
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from drydock import postgres, template
from drydock.errors import DrydockError, NotReadyError
from drydock.fault_points import Point, reached
from drydock.recovery.archive import marks
from drydock.recovery.way_back import marking
from drydock.recovery.way_back.journal import LEVELS, Entry, Journal, JournalFile, Kind, Move

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from drydock.environment import Environment
    from drydock.postgres import Connection

# The name of a setting that no extension has; every session of that database sees it (SHOW drydock.entry).
_SETTING = "drydock.entry"
_CARRIED = """
    SELECT split_part(setting, '=', 2)
    FROM pg_database d JOIN pg_db_role_setting s ON s.setdatabase = d.oid AND s.setrole = 0, unnest(s.setconfig) setting
    WHERE d.datname = %s AND starts_with(setting, %s)
"""


@dataclass
class Change:
    """A change that is being made.

    Attributes:
        entry: what the journal has of it.
        made: whether it is in the journal in the end; False once nothing turned out to need changing.
    """

    entry: Entry
    made: bool = True

    def nothing(self) -> None:
        """Nothing was changed: there is nothing to undo, and the mark goes."""
        self.made = False

    @property
    def undo(self) -> str:
        """The command that takes it back; empty where none does."""
        possible = self.made and (self.entry.mark or self.entry.kind is not Kind.IN_PLACE)
        return "invoke undo" if possible else ""

    @property
    def lines(self) -> list[str]:
        """What to tell the user at the end: one line, or none."""
        return [f"undo: {self.undo}"] if self.undo else []


@contextmanager
def recorded(
    environment: Environment,
    task: str,
    kind: Kind,
    *,
    report: Callable[[str], None],
    seen: Callable[[], object] = lambda: None,
) -> Iterator[Change]:
    """Leave a way back from what the body changes; the checkout's lock is held.

    Where there can be no mark, it says so in one line and goes on.

    Args:
        environment: whose data.
        task: as people type it.
        kind: what the change leaves of the state before.
        report: takes that line.
        seen: of a change in place that fails, tells what a part of it would change; by default it is all or nothing.

    Raises:
        NotReadyError: where Postgres does not answer, and it is not the whole cluster that is to be replaced.
    """
    before = seen()
    with moving(environment, Move.CHANGE, task, kind, report=report) as change:
        try:
            yield change
        except Exception:
            if kind is Kind.IN_PLACE and seen() == before:
                forget(environment)
            raise


@contextmanager
def moving(
    environment: Environment, move: Move, task: str, kind: Kind, *, report: Callable[[str], None]
) -> Iterator[Change]:
    """Mark where the data is and begin the move; it is finished with the body.

    Where the body fails or is killed the journal says that something was begun. `load` finds out what became of it.
    Of a checkout that has no cluster yet nothing is noted: there is nothing to go back to.
    """
    if not environment.state.system_identifier:
        yield Change(_unmarked(environment, task, kind, "there was no cluster"), made=False)
        return
    journal = load(environment)
    change = Change(_entry(environment, task, kind))
    if change.entry.unmarked and move is Move.CHANGE:
        report(f"no way back by time from here: {change.entry.unmarked}")
    reached(Point.CHANGE_MARKED)
    _write(environment, journal, journal.begun(move, change.entry))
    reached(Point.CHANGE_BEGUN)
    try:
        yield change
    except BaseException:
        if kind is Kind.DATABASES:
            with suppress(DrydockError):  # the server can still be asked now: later somebody may have stopped it
                load(environment)
        raise
    reached(Point.CHANGE_MADE)
    if change.made:
        _write(environment, journal, journal.begun(move, change.entry).finished())
    else:
        forget(environment)
    reached(Point.CHANGE_FINISHED)


def load(environment: Environment) -> Journal:
    """The journal, with what a killed task left in it settled, or made anew from the marks where there is none.

    Raises:
        DrydockError: where it is damaged.
    """
    found = _file(environment).read()
    if found is None:
        return remembered(environment)
    try:
        settled = found.settled(lambda entry: _happened(environment, entry))
    except NotReadyError:
        # Written down is only what somebody knows. Until then it may have: its mark leads to before it in any case.
        return found.settled(lambda entry: bool(entry.mark))
    if settled != found:
        _write(environment, found, settled)
    return settled


def remembered(environment: Environment) -> Journal:
    """What the marks of the tasks say: a level of undo for each."""
    found = [
        Entry(
            id=mark.name.rpartition("-")[2],
            task=mark.task,
            when=mark.made,
            kind=Kind.IN_PLACE,
            incarnation=mark.incarnation,
            part=mark.part,
            mark=mark.name,
        )
        for mark in marks.every(marking.archive_of(environment))
        if mark.kind is marks.Kind.AUTOMATIC
    ]
    return Journal(undo=tuple(found[-LEVELS:]))


def forget(environment: Environment) -> None:
    """Cancel what has begun: it changed nothing."""
    found = _file(environment).read()
    if found:
        _write(environment, found, found.cancelled())


def token(connection: Connection, database: str) -> str:
    """The id of the journal entry that a database carries; empty where it has none or does not exist."""
    row = connection.execute(_CARRIED, (database, f"{_SETTING}=")).fetchone()
    return str(row[0]) if row else ""


def kept(environment: Environment) -> str:
    """The id that the database kept by the last swap carries."""
    with postgres.administer(environment) as connection:
        return token(connection, environment.settings.database + template.PREVIOUS)


def _entry(environment: Environment, task: str, kind: Kind) -> Entry:
    ident = secrets.token_hex(4)
    mark, unmarked = "", ""
    try:
        mark = _mark(environment, task, ident)
    except marking.UnmarkedError as error:
        unmarked = error.reason
    except (NotReadyError, psycopg.Error) as error:
        # Without a server there is nothing that could be changed but the cluster as a whole.
        if kind is not Kind.CLUSTER:
            raise
        unmarked = f"the server could not be asked for one ({str(error).strip().splitlines()[0].rstrip('.')})"
    return replace(_unmarked(environment, task, kind, unmarked), id=ident, mark=mark)


def _unmarked(environment: Environment, task: str, kind: Kind, reason: str) -> Entry:
    return Entry(
        id="",
        task=task,
        when=datetime.now(UTC).isoformat(timespec="seconds"),
        kind=kind,
        incarnation=environment.state.incarnation,
        part=environment.state.part,
        unmarked=reason,
    )


def _mark(environment: Environment, task: str, ident: str) -> str:
    """Make the mark and have the database carry the id, which it does in any case; returns the mark's name."""
    with postgres.administer(environment) as connection:
        try:
            point = marking.begin_automatic(environment, connection, task, ident)
        finally:
            _carry(connection, environment.settings.database, ident)
        end = marking.position(connection)
    return marking.finish_automatic(environment, point, end, task).name


def _carry(connection: Connection, database: str, ident: str) -> None:
    """Its commit is also what puts the restore point before it on the server's disk, and on its way to the archiver."""
    connection.execute(
        sql.SQL("ALTER DATABASE {} SET {} = {}").format(
            sql.Identifier(database), sql.Identifier(*_SETTING.split(".")), sql.Literal(ident)
        )
    )


def _happened(environment: Environment, entry: Entry) -> bool:
    """Whether the data has changed since an entry was begun.

    Raises:
        NotReadyError: where only the server could tell, and it does not answer.
    """
    if entry.kind is Kind.CLUSTER:
        return environment.state.incarnation != entry.incarnation
    if entry.kind is Kind.IN_PLACE:
        return True
    return kept(environment) == entry.id


def _write(environment: Environment, before: Journal, after: Journal) -> None:
    """Record the journal, and let the tasks' marks go that it no longer needs."""
    _file(environment).write(after)
    archive = marking.archive_of(environment)
    for name in before.marks - after.marks:
        marks.remove(archive, name)


def _file(environment: Environment) -> JournalFile:
    return JournalFile(environment.settings.folder, environment.state.system_identifier)
