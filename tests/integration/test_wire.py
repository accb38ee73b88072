from __future__ import annotations

import base64
import dataclasses
import socket
import threading
from typing import TYPE_CHECKING

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drydock import wire
from drydock.checkout import Role
from drydock.errors import NotReadyError

if TYPE_CHECKING:
    from tests.checkout import Checkout

PRINTABLE = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=8, max_size=40)


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT 1, NULL, 'ünïcode', ''",
        "SELECT n, repeat('x', n * 5000) FROM generate_series(0, 20) n",
        "SELECT WHERE false",
        "SELECT '{\"a\": [1, null]}'::json, ARRAY[1, 2], true",
    ],
)
def test_rows_are_those_psycopg_sees(scratch: Checkout, statement: str) -> None:
    """The same statement gives the same texts through psycopg."""
    environment = scratch.environment
    with wire.connect(environment, environment.app, timeout=5) as session:
        ours = session.query(statement)
    with psycopg.connect(environment.database_url(environment.app)) as connection:
        result = connection.execute(statement.encode()).pgresult
        assert result is not None
        cells = [[result.get_value(r, c) for c in range(result.nfields)] for r in range(result.ntuples)]
    assert ours == [[cell.decode() if cell is not None else None for cell in row] for row in cells]


def test_several_statements_in_a_row(scratch: Checkout) -> None:
    """The session stays in step, also after an empty result."""
    environment = scratch.environment
    with wire.connect(environment, environment.superuser, "postgres", timeout=5) as session:
        assert session.query("SELECT 1 WHERE false") == []
        assert session.query("SELECT current_user, current_database()") == [["postgres", "postgres"]]


def test_a_refusal_is_the_servers_own_words(scratch: Checkout) -> None:
    """A statement that fails says why."""
    environment = scratch.environment
    with (
        wire.connect(environment, environment.app, timeout=5) as session,
        pytest.raises(NotReadyError, match='relation "nowhere" does not exist'),
    ):
        session.query("SELECT * FROM nowhere")


def test_a_wrong_password_is_refused_and_not_repeated(scratch: Checkout) -> None:
    """The server's sentence, without the password."""
    stranger = Role("app", "not-the-password")
    with (
        pytest.raises(NotReadyError, match="password authentication failed") as caught,
        wire.connect(scratch.environment, stranger, timeout=5),
    ):
        pass
    assert "not-the-password" not in str(caught.value)


@given(password=PRINTABLE)
def test_a_server_that_does_not_know_the_password_is_found_out(password: str) -> None:
    """The server's proof is checked: one made with another password does not pass."""
    exchange = wire.Scram(password)
    nonce = exchange.first().partition("r=")[2]
    salt = base64.b64encode(b"sixteen bytes ok").decode()
    exchange.final(f"r={nonce}server,s={salt},i=4096")
    with pytest.raises(NotReadyError, match="does not know our password"):
        exchange.verify(f"v={base64.b64encode(bytes(32)).decode()}")


def test_somebody_elses_challenge_is_refused() -> None:
    """A challenge must continue our own nonce."""
    with pytest.raises(NotReadyError, match="another client"):
        wire.Scram("sesame-sesame").final("r=stranger,s=AAAA,i=4096")


@pytest.mark.parametrize("reply", [b"", b"HTTP/", b"R\0\0\0\x08\0\0\0\x03"], ids=["nothing", "http", "cleartext"])
def test_a_listener_that_is_no_postgres_of_ours(scratch: Checkout, reply: bytes) -> None:
    """Closing, talking HTTP or asking for a password in clear text ends in an error, never in sending the password."""
    received = b""

    def serve(server: socket.socket) -> None:
        nonlocal received
        connection, _ = server.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(reply)
            connection.shutdown(socket.SHUT_WR)
            while part := connection.recv(4096):
                received += part

    own = scratch.environment
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, args=(server,))
        thread.start()
        own.state = dataclasses.replace(own.state, postgres_port=server.getsockname()[1])
        with pytest.raises((OSError, NotReadyError)), wire.connect(own, own.app, timeout=2):
            pass
        thread.join()
    assert own.settings.app_password.encode() not in received


@pytest.mark.parametrize(("name", "quoted"), [("a", '"a"'), ("s.t", '"s"."t"'), ('we"ird', '"we""ird"')])
def test_names_are_quoted(name: str, quoted: str) -> None:
    """A qualified name is quoted part by part."""
    assert wire.identifier(name) == quoted
