"""Statements that a server carries out while we do something else: sent without waiting, answered in order.

libpq's pipeline mode (manual 34.5) instead of a thread: a test process that has a second thread may not fork safely,
and says so from Python 3.12 on.
"""

from __future__ import annotations

import contextlib
import selectors
import threading
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from psycopg import OperationalError, pq, sql

from drydock.errors import DrydockError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from drydock.postgres import Connection

SYNCED, FAILED = pq.ExecStatus.PIPELINE_SYNC, pq.ExecStatus.FATAL_ERROR


class GoneError(DrydockError):
    """The connection was ended from outside."""


@dataclass(eq=False)
class Errand:
    """A list of statements on their way.

    Attributes:
        purpose: what they are for, as the object of "Could not …".
        pending: how many have not been answered.
        failure: the purpose with the first refusal, in the server's words.
    """

    purpose: str
    pending: int
    failure: str = ""


@dataclass(eq=False)
class Errands:
    """Runs statements on a connection of their own, each in its own transaction. Safe between threads."""

    connection: Connection
    _open: deque[Errand] = field(default_factory=deque)
    _failures: list[str] = field(default_factory=list)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        """Turn the connection over to the errands: nothing else may use it from now on."""
        self.connection.pgconn.enter_pipeline_mode()

    def send(self, purpose: str, statements: Iterable[sql.Composed]) -> Errand:
        """Have the server carry out the statements, and do not wait for it.

        Raises:
            GoneError: where the connection is gone.
        """
        texts = [statement.as_bytes(self.connection) for statement in statements]
        errand, pgconn = Errand(purpose, len(texts)), self.connection.pgconn
        with self._lock, _noticing_the_end():
            self._open.append(errand)
            for text in texts:
                pgconn.send_query_params(text, None)
                # After each: CREATE DATABASE refuses to share a transaction.
                pgconn.pipeline_sync()
            while pgconn.flush():
                self._await(selectors.EVENT_READ | selectors.EVENT_WRITE)
        return errand

    def finish(self, errand: Errand) -> None:
        """Wait until all of an errand has been answered.

        Raises:
            DrydockError: where the server refused part of it.
            GoneError: where the connection is gone.
        """
        with self._lock, _noticing_the_end():
            while errand.pending:
                self._take_answer()
        if errand.failure:
            self._failures.remove(errand.failure)
            raise DrydockError(f"Could not {errand.failure}.")

    def close(self) -> None:
        """Wait for what is under way and end the connection.

        Raises:
            DrydockError: naming what was refused and waited for by nobody.
            GoneError: where the connection is gone.
        """
        with self._lock, _noticing_the_end(), contextlib.closing(self.connection):
            while self._open:
                self._take_answer()
        if self._failures:
            raise DrydockError(f"Could not {'; '.join(self._failures)}.")

    def _take_answer(self) -> None:
        pgconn = self.connection.pgconn
        while pgconn.is_busy():
            self._await(selectors.EVENT_READ)
        result = pgconn.get_result()
        if result is None:  # what separates the answers
            return
        if result.status == FAILED and not self._open[0].failure:
            self._open[0].failure = f"{self._open[0].purpose}: {_words(result)}"
            self._failures.append(self._open[0].failure)
        if result.status == SYNCED:
            self._open[0].pending -= 1
            if not self._open[0].pending:
                self._open.popleft()

    def _await(self, events: int) -> None:
        pgconn = self.connection.pgconn
        with selectors.DefaultSelector() as selector:
            selector.register(pgconn.socket, events)
            selector.select()
        pgconn.consume_input()


@contextmanager
def _noticing_the_end() -> Iterator[None]:
    try:
        yield
    except OperationalError as error:
        raise GoneError(
            f"The server for tests has ended our connection: {str(error).strip().splitlines()[0]}."
        ) from error


def _words(result: pq.abc.PGresult) -> str:
    said = result.error_field(pq.DiagnosticField.MESSAGE_PRIMARY) or result.error_message
    return said.decode(errors="replace").strip().rstrip(".")
