from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from drydock import ports
from drydock.environment import open_or_create
from drydock.errors import PortTakenError
from drydock.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from drydock.environment import Environment


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that this process listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def make(root: Path, **settings: object) -> Environment:
    environment, _ = open_or_create(Settings(root=root, **settings))  # type: ignore[arg-type]
    return environment


def nobody(_port: int) -> bool:
    return False


def test_ports_are_kept(tmp_path: Path) -> None:
    """The first assignment is the last one while the ports stay free."""
    environment = make(tmp_path)
    ports.assign(environment, nobody, pytest.fail)
    first = (environment.state.postgres_port, environment.state.redis_port)
    ports.assign(environment, nobody, pytest.fail)
    assert first == (environment.state.postgres_port, environment.state.redis_port)
    assert first[0] != first[1]
    assert all(port in ports.RANGE for port in first)


def test_two_checkouts_differ(tmp_path: Path) -> None:
    """Another identity means other ports."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    chosen = set()
    for name in "ab":
        environment = make(tmp_path / name)
        ports.assign(environment, nobody, pytest.fail)
        chosen |= {environment.state.postgres_port, environment.state.redis_port}
    assert len(chosen) == 4


def test_taken_port_is_reported_with_its_holder(tmp_path: Path, taken: int) -> None:
    """The error names the port, the process that has it and the variable to change."""
    with pytest.raises(PortTakenError) as caught:
        ports.assign(make(tmp_path, postgres_port=taken), nobody, pytest.fail)
    assert f"Port {taken} for postgres" in caught.value.message
    assert f"process {os.getpid()}" in caught.value.message
    assert "POSTGRES_PORT" in caught.value.hint


def test_a_port_is_kept_for_those_who_know_it(tmp_path: Path, taken: int) -> None:
    """A recorded port that somebody took is an error once the servers were up on it; before that it moves."""
    environment = make(tmp_path)
    environment.record(postgres_port=taken, system_identifier="7000000000000000000")
    with pytest.raises(PortTakenError):
        ports.assign(environment, nobody, pytest.fail)
    environment.record(system_identifier="")
    told: list[str] = []
    ports.assign(environment, nobody, told.append)
    assert environment.state.postgres_port != taken
    assert f"port {taken} is taken by" in told[0]


def test_taken_port_moves_on_request(tmp_path: Path, taken: int) -> None:
    """PORTS=auto moves to a free port and says from where to where."""
    told: list[str] = []
    environment = make(tmp_path, redis_port=taken, ports="auto")
    ports.assign(environment, nobody, told.append)
    assert environment.state.redis_port != taken
    assert str(taken) in told[0]
    assert str(environment.state.redis_port) in told[0]


def test_our_own_server_is_no_stranger(tmp_path: Path, taken: int) -> None:
    """A port that our running server holds is kept."""
    environment = make(tmp_path, postgres_port=taken)
    ports.assign(environment, lambda port: port == taken, pytest.fail)
    assert environment.state.postgres_port == taken
