"""Executes a dump's SQL, one statement after another, and keeps account of what the server would not take."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import psycopg
from psycopg import errors, sql
from psycopg.pq import TransactionStatus

from drydock.backup.foreign.carried import Failure
from drydock.backup.foreign.sql_reader import Command, SqlReader, Statement
from drydock.backup.foreign.statements import Subject, Topic, about, shown
from drydock.errors import DrydockError, NotReadyError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from drydock.backup.foreign.extensions import Extensions
    from drydock.backup.foreign.source import Readable
    from drydock.postgres import Connection

# Encodings of clients only, in which a quote or a backslash can be the second half of a character (manual 24.3.1).
_UNSAFE = frozenset({"BIG5", "GB18030", "GBK", "JOHAB", "SHIFT_JIS_2004", "SJIS", "UHC"})
_HARMLESS_COMMANDS = frozenset({"\\restrict", "\\unrestrict", "\\."})
_ENCODING = "\\encoding"
_CONNECT = frozenset({"\\connect", "\\c"})
_NEVER_EXECUTED = frozenset({Topic.SKIP, Topic.OWNER, Topic.SERVER_WIDE, Topic.EXTENSION, Topic.BEGIN, Topic.DEFAULTS})
# After a failure inside a transaction the rest of it fails for that reason alone; the schema public is there already.
_NO_LOSS = (errors.InFailedSqlTransaction, errors.DuplicateSchema)
_RESOURCES, _INTERVENTION = "53", "57P"  # classes of SQLSTATE (manual, appendix A)


@dataclass
class Account:
    """What came of a script so far. The dictionaries are ordered sets of names."""

    rows: int = 0
    owners: dict[str, None] = field(default_factory=dict)
    unknown_roles: dict[str, None] = field(default_factory=dict)
    granted: dict[str, None] = field(default_factory=dict)
    defaults: dict[str, None] = field(default_factory=dict)
    extensions: dict[str, None] = field(default_factory=dict)
    settings: dict[str, None] = field(default_factory=dict)
    commands: dict[str, None] = field(default_factory=dict)
    server_wide: dict[str, None] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)


class Script:
    """One script on its way into a database.

    Args:
        connection: as the role that it is loaded as, in autocommit.
        extensions: creates those that the script names.
        roles: that exist here.
        section: of a whole cluster's dump, the database to load; other scripts may have but one.
    """

    def __init__(
        self, connection: Connection, extensions: Extensions, roles: Iterable[str], section: str | None = None
    ) -> None:
        self.account = Account()
        self._connection = connection
        self._extensions = extensions
        self._roles = frozenset(roles)
        self._section = section
        self._database = ""
        self._begin_waits = False

    def execute(self, stream: Readable, tick: Callable[[], None]) -> None:
        """Execute all of a script; `tick` is called between statements and blocks of rows.

        Raises:
            DrydockError: where it is cut off, holds several databases, or the server has no room for it.
            NotReadyError: where the server goes away.
        """
        reader = SqlReader(stream)
        for piece in reader.pieces():
            tick()
            if isinstance(piece, Command):
                self._command(piece.text)
                self._adapt(reader)
            elif self._section not in {None, self._database}:
                self._pass_over(piece)
                _drain(reader, piece, tick)
            elif piece.rows:
                self._copy(piece, reader, tick)
            else:
                self._statement(piece.text)
                self._adapt(reader)

    def _command(self, text: str) -> None:
        word, _, rest = text.partition(" ")
        if word in _CONNECT:
            before, self._database = self._database, rest.strip().strip("\"'")
            if self._section is None and before not in {"", self._database}:
                raise several([before, self._database])
        elif word == _ENCODING and rest.strip():
            name = sql.Literal(rest.strip().strip("'"))
            self._statement(sql.SQL("SET client_encoding = {}").format(name).as_bytes(self._connection))
        elif word not in _HARMLESS_COMMANDS:
            self.account.commands[text[:60]] = None

    def _pass_over(self, statement: Statement) -> None:
        """Of the rest of a cluster only what concerns the server is worth telling."""
        subject = about(statement.text)
        if subject.topic is Topic.SERVER_WIDE:
            self._note(subject)

    def _statement(self, text: bytes) -> None:
        subject = about(text)
        # Only a large object's content needs its transaction; without any other a failure takes nothing along.
        if self._begin_waits and subject.topic is Topic.LARGE_OBJECT:
            self._run(b"BEGIN", Subject(Topic.EXECUTE))
        self._begin_waits = subject.topic is Topic.BEGIN
        self._note(subject)
        if not self._needless(subject):
            self._run(text, subject)

    def _note(self, subject: Subject) -> None:
        names = dict.fromkeys(subject.names)
        if subject.topic is Topic.OWNER:
            self.account.owners |= names
        elif subject.topic is Topic.SERVER_WIDE:
            self.account.server_wide |= names
        elif subject.topic is Topic.DEFAULTS:
            self.account.defaults |= names
        elif subject.topic is Topic.GRANT:
            unknown = dict.fromkeys(name for name in names if name not in self._roles)
            self.account.unknown_roles |= unknown
            self.account.granted |= {} if unknown else names
        elif subject.topic is Topic.EXTENSION and not self._extensions.create(self._connection, *subject.names):
            self.account.extensions[subject.names[0]] = None

    def _needless(self, subject: Subject) -> bool:
        if subject.topic is Topic.COMMIT:
            return self._connection.info.transaction_status is TransactionStatus.IDLE
        unknown = subject.topic is Topic.GRANT and not self._roles.issuperset(subject.names)
        return unknown or subject.topic in _NEVER_EXECUTED

    def _run(self, text: bytes, subject: Subject) -> None:
        try:
            cursor = self._connection.execute(text)
        except psycopg.Error as error:
            self._refused(text, subject, error)
        else:
            if text[:6].lower() == b"insert":
                self.account.rows += cursor.rowcount

    def _copy(self, statement: Statement, reader: SqlReader, tick: Callable[[], None]) -> None:
        rows = reader.rows()
        try:
            with self._connection.cursor() as cursor:
                with cursor.copy(statement.text) as copy:
                    for block in rows:
                        copy.write(block)
                        tick()
                self.account.rows += cursor.rowcount
        except psycopg.Error as error:
            self._refused(statement.text, Subject(Topic.EXECUTE), error)
            for _ in rows:
                tick()

    def _refused(self, text: bytes, subject: Subject, error: psycopg.Error) -> None:
        """Take account of a statement that failed; what no later statement can do without ends the whole.

        What a DROP asks away was never there: the database was empty.
        """
        reason = str(error.diag.message_primary or error).strip().splitlines()[0]
        if self._connection.broken or (error.sqlstate or "").startswith(_INTERVENTION):
            raise NotReadyError(f"Postgres went away while the dump was loaded: {reason}.", hint="invoke logs postgres")
        if (error.sqlstate or "").startswith(_RESOURCES):
            raise DrydockError(f"Postgres has no room for the dump: {reason}.", hint="invoke doctor")
        if subject.topic is Topic.SETTING:
            self.account.settings[shown(text)] = None
        elif subject.topic is not Topic.DROP and not isinstance(error, _NO_LOSS):
            self.account.failures.append(Failure(shown(text), reason))

    def _adapt(self, reader: SqlReader) -> None:
        """Read on as the session is set now."""
        info = self._connection.info
        reader.escapes = info.parameter_status("standard_conforming_strings") == "off"
        encoding = info.parameter_status("client_encoding")
        if encoding in _UNSAFE:
            raise DrydockError(
                f"The dump is written in {encoding}, in which SQL cannot be taken apart safely.",
                hint="Make it again with: pg_dump --encoding=UTF8",
            )


def sections(stream: Readable) -> dict[str, int]:
    """The databases in a whole cluster's dump, with how many objects each has; the server's own are among them.

    Raises:
        DrydockError: where it is cut off.
    """
    reader, found, database = SqlReader(stream), dict[str, int](), ""
    for piece in reader.pieces():
        if isinstance(piece, Command):
            word, _, rest = piece.text.partition(" ")
            if word in _CONNECT:
                database = rest.strip().strip("\"'")
                found.setdefault(database, 0)
            continue
        topic = about(piece.text).topic
        if database and topic is Topic.EXECUTE and piece.text[:6].lower() == b"create":
            found[database] += 1
        reader.escapes = reader.escapes or b"standard_conforming_strings = off" in piece.text[:64]
        _drain(reader, piece, lambda: None)
    return found


def several(names: Iterable[str]) -> DrydockError:
    """The error for a dump of more than one database."""
    return DrydockError(
        f"The dump holds several databases: {', '.join(names)}.",
        hint="Take a dump of the one you want: pg_dump -Fc NAME",
    )


def _drain(reader: SqlReader, statement: Statement, tick: Callable[[], None]) -> None:
    if statement.rows:
        for _ in reader.rows():
            tick()
