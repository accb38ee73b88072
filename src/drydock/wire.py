"""The one question `status` and a second `up` ask of Postgres, over a plain socket.

Importing psycopg takes a quarter of the time `invoke status` may take in all (see benchmarks/RESULTS.md); all work on
data uses it. What is needed here is a password and a query: the manual's chapters 55.2 (message flow), 55.3 (SASL) and
55.7 (formats), and RFC 5802 for SCRAM, whose last step also proves that the server knows the password.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import socket
import struct
from contextlib import contextmanager
from typing import TYPE_CHECKING

from drydock.checkout import HOST, Checkout, Role
from drydock.errors import NotReadyError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import BufferedRWPair

    Row = list[str | None]

PROTOCOL = 3 << 16
MECHANISM = "SCRAM-SHA-256"
SASL, SASL_CONTINUE, SASL_FINAL, AUTHENTICATED = 10, 11, 12, 0


class Session:
    """One authenticated connection; every value comes back as text."""

    def __init__(self, stream: BufferedRWPair) -> None:
        self._stream = stream

    def query(self, statement: str) -> list[Row]:
        """The rows of one statement.

        Raises:
            NotReadyError: with the server's own words, where it refuses.
        """
        self._send(b"Q", statement.encode() + b"\0")
        rows: list[Row] = []
        while (message := self._receive())[0] != b"Z":
            if message[0] == b"D":
                rows.append(_row(message[1]))
        return rows

    def begin(self, role: Role, database: str) -> None:
        """Introduce ourselves and prove that we know the password."""
        # As postgres.LOCAL has it: no task waits for an archiver.
        words = ("user", role.name, "database", database, "application_name", "drydock", "synchronous_commit", "local")
        body = struct.pack("!i", PROTOCOL) + b"".join(word.encode() + b"\0" for word in words) + b"\0"
        self._stream.write(struct.pack("!i", len(body) + 4) + body)
        self._stream.flush()
        exchange = Scram(role.password)
        while (message := self._receive())[0] != b"Z":
            if message[0] == b"R":
                self._authenticate(exchange, *_step(message[1]))

    def _authenticate(self, exchange: Scram, step: int, text: str) -> None:
        if step == SASL and MECHANISM in text.split("\0"):
            first = exchange.first().encode()
            self._send(b"p", MECHANISM.encode() + b"\0" + struct.pack("!i", len(first)) + first)
        elif step == SASL_CONTINUE:
            self._send(b"p", exchange.final(text).encode())
        elif step == SASL_FINAL:
            exchange.verify(text)
        elif step != AUTHENTICATED:
            raise NotReadyError(f"Postgres asks for an authentication other than {MECHANISM}.", hint="invoke doctor")

    def _send(self, kind: bytes, body: bytes) -> None:
        self._stream.write(kind + struct.pack("!i", len(body) + 4) + body)
        self._stream.flush()

    def _receive(self) -> tuple[bytes, bytes]:
        head = self._stream.read(5)
        if len(head) < 5:  # noqa: PLR2004 - a type and a length
            raise ConnectionError("Postgres closed the connection")
        body = self._stream.read(struct.unpack("!i", head[1:])[0] - 4)
        if head[:1] == b"E":
            raise NotReadyError(f"Postgres answers: {_complaint(body)}.", hint="invoke doctor")
        return head[:1], body


class Scram:
    """The client's side of one SCRAM-SHA-256 exchange. Passwords are ASCII (settings.py): SASLprep changes nothing."""

    def __init__(self, password: str) -> None:
        self._password = password.encode()
        self._nonce = base64.b64encode(os.urandom(18)).decode()
        self._signature = b""

    def first(self) -> str:
        """What opens the exchange: no channel binding, the name as in the start-up message."""
        return f"n,,n=,r={self._nonce}"

    def final(self, challenge: str) -> str:
        """The answer to the server's challenge, with the proof of the password."""
        given = dict(part.split("=", 1) for part in challenge.split(","))
        if not given["r"].startswith(self._nonce):
            raise NotReadyError("Postgres answered another client's challenge.", hint="invoke doctor")
        salted = hashlib.pbkdf2_hmac("sha256", self._password, base64.b64decode(given["s"]), int(given["i"]))
        bare = f"c=biws,r={given['r']}"
        signed = f"n=,r={self._nonce},{challenge},{bare}".encode()
        key = hmac.digest(salted, b"Client Key", "sha256")
        proof = hmac.digest(hashlib.sha256(key).digest(), signed, "sha256")
        self._signature = hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), signed, "sha256")
        masked = bytes(a ^ b for a, b in zip(key, proof, strict=True))
        return f"{bare},p={base64.b64encode(masked).decode()}"

    def verify(self, outcome: str) -> None:
        """Check the server's own proof.

        Raises:
            NotReadyError: where it does not know the password: it is not ours.
        """
        if not hmac.compare_digest(outcome, f"v={base64.b64encode(self._signature).decode()}"):
            raise NotReadyError("The Postgres that answers does not know our password.", hint="invoke doctor")


@contextmanager
def connect(checkout: Checkout, role: Role, database: str = "", *, timeout: float) -> Iterator[Session]:
    """A session with this checkout's Postgres.

    Args:
        checkout: says where the server is.
        role: whom to connect as.
        database: the application's by default.
        timeout: seconds for the connection and for each answer.

    Raises:
        OSError: where nothing listens, or it does not answer in time.
        NotReadyError: where it refuses.
    """
    with (
        socket.create_connection((HOST, checkout.state.postgres_port), timeout=timeout) as connection,
        connection.makefile("rwb") as stream,
    ):
        session = Session(stream)
        session.begin(role, database or checkout.settings.database)
        yield session


def identifier(name: str) -> str:
    """A possibly qualified name, quoted."""
    return ".".join('"' + part.replace('"', '""') + '"' for part in name.split("."))


def _step(body: bytes) -> tuple[int, str]:
    return struct.unpack("!i", body[:4])[0], body[4:].decode()


def _row(body: bytes) -> Row:
    (count,), at, values = struct.unpack("!h", body[:2]), 2, []
    for _ in range(count):
        (length,) = struct.unpack("!i", body[at : at + 4])
        at += 4
        values.append(body[at : at + length].decode() if length >= 0 else None)
        at += max(length, 0)
    return values


def _complaint(body: bytes) -> str:
    """The primary message of an error, which is the field M."""
    fields = {part[:1]: part[1:].decode(errors="replace") for part in body.split(b"\0") if part}
    return fields.get(b"M", "an error without words").rstrip(".")
