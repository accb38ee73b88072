"""Servers that are gone, paused, foreign or in the way."""

from __future__ import annotations

import os
import socket
import subprocess
from typing import TYPE_CHECKING

import pytest

from drydock.engine import POSTGRES
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.checkout import Checkout

KILLS = 6  # after so many, one soon after another, Docker waits for more than three seconds


@pytest.fixture
def squatter() -> Iterator[int]:
    """A port with a listener that is not ours."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_taken_port_names_holder_and_setting(checkout: Checkout, squatter: int) -> None:
    """Up does not start; it says which process holds which port, and what to change; PORTS=auto moves."""
    result = checkout.run("up", code=4, POSTGRES_PORT=str(squatter))
    assert f"Port {squatter} for postgres is taken by" in result.stderr
    assert f"(process {os.getpid()})" in result.stderr
    assert "POSTGRES_PORT" in result.stderr
    assert "PORTS=auto" in result.stderr
    moved = checkout.run("up", POSTGRES_PORT=str(squatter), PORTS="auto")
    assert f"port {squatter} is taken" in moved.stderr
    assert checkout.environment.state.postgres_port != squatter


def test_a_server_that_is_not_ours_is_refused(scratch: Checkout, make_checkout: Callable[..., Checkout]) -> None:
    """Another cluster on our port, with our very passwords: status fails, reset and seed decline, its data stays."""
    ours = make_checkout(ENGINE=scratch.environ["ENGINE"])
    ours.run("up")
    own, other = ours.environment, scratch.environment
    (ours.root / ".env").write_text((scratch.root / ".env").read_text())
    own.record(postgres_port=other.state.postgres_port, redis_port=other.state.redis_port)
    before = scratch.query("SELECT count(*) FROM messages")
    assert "not the one this checkout created" in ours.run("status", code=5).stdout
    for task in (["reset"], ["seed"], ["migrate"], ["reset.undo"], ["migrate.push"]):
        assert "not the one this checkout created" in ours.run(*task, code=3).stderr
    assert scratch.query("SELECT count(*) FROM messages") == before
    own.record(postgres_port=1, redis_port=1)


def test_a_killed_server_comes_back_with_up(embedded_engine: str, make_checkout: Callable[..., Checkout]) -> None:
    """Kill -9 of Postgres: status says so, up heals, committed rows are there."""
    checkout = make_checkout(ENGINE=embedded_engine)
    checkout.run("up")
    checkout.query("UPDATE users SET name = 'Kept' WHERE email = 'ada@acme.example'")
    pid = int((checkout.root / ".drydock" / "volumes" / "postgres-16-1" / "postmaster.pid").read_text().split()[0])
    subprocess.run(["kill", "-9", str(pid)], check=True)
    assert "invoke up" in checkout.run("status", code=5).stdout
    checkout.run("up")
    assert checkout.query("SELECT name FROM users WHERE email = 'ada@acme.example'") == [("Kept",)]


def test_up_does_not_wait_as_docker_does(docker_engine: str, make_checkout: Callable[..., Checkout]) -> None:
    """Docker starts what was killed again, later each time: `up` starts it now, and does not call it broken."""
    checkout = make_checkout(ENGINE=docker_engine)
    checkout.run("up")
    (container,) = checkout.environment.engine.containers(POSTGRES)  # type: ignore[attr-defined]
    killed = [0]  # which is what Docker tells while no process runs
    while len(killed) <= KILLS:
        eventually(lambda: container.reload() or container.attrs["State"]["Pid"] not in killed, "started again")
        killed.append(container.attrs["State"]["Pid"])
        # Not by Docker's own kill: what it has killed itself it does not start again.
        subprocess.run(["kill", "-9", str(killed[-1])], check=True)
    eventually(lambda: container.reload() or container.status == "restarting", "waiting to be started")
    checkout.run("up")
    assert checkout.json("status")["status"] == "pass"


def test_wrong_passwords_are_a_sentence(checkout: Checkout) -> None:
    """A changed superuser password says what to put back."""
    checkout.run("up")
    error = checkout.run("reset", code=5, POSTGRES_PASSWORD="something-else-entirely").stderr
    assert "refuses the passwords in .env" in error


def test_malformed_settings_from_the_command(make_checkout: Callable[..., Checkout]) -> None:
    """A bad setting stops every task with one sentence and exit code 2."""
    checkout = make_checkout()
    for task in ("up", "status", "down", "env", "seed"):
        error = checkout.run(task, code=2, POSTGRES_PORT="99999", ENGINE="lxc").stderr
        assert "POSTGRES_PORT: '99999' is not empty or a port from 1 to 65535" in error
        assert "ENGINE: 'lxc' is not one of auto, docker, embedded" in error
    assert "✗ settings:values" in checkout.run("doctor", code=1, ENGINE="lxc").stdout


def test_dotenv_readable_by_others_is_warned_about(checkout: Checkout) -> None:
    """A .env that others may read is said at up and by doctor, with the command that mends it."""
    checkout.run("up")
    (checkout.root / ".env").chmod(0o644)
    checkout.run("down")
    assert "chmod 600 .env" in checkout.run("up").stderr
    assert "chmod 600" in checkout.run("doctor").stdout


def test_an_engine_is_never_changed_silently(checkout: Checkout) -> None:
    """ENGINE set to the other one after the first up is refused; the environment stays."""
    checkout.run("up")
    other = {"docker": "embedded", "embedded": "docker"}[checkout.environ["ENGINE"]]
    assert "would start an empty one" in checkout.run("up", code=4, ENGINE=other).stderr
    assert checkout.json("up", ENGINE="auto")["engine"] == checkout.environ["ENGINE"]


def test_without_docker_auto_takes_the_embedded_engine(
    make_checkout: Callable[..., Checkout], embedded_engine: str
) -> None:
    """No Docker engine answers: up says so, and why it goes on embedded."""
    checkout = make_checkout(DOCKER_HOST="tcp://127.0.0.1:1")
    result = checkout.run("up")
    assert f"engine: {embedded_engine}, because No Docker engine answers" in result.stderr
    assert checkout.json("status", DOCKER_HOST="tcp://127.0.0.1:1")["status"] == "pass"


def test_docker_asked_for_and_absent(make_checkout: Callable[..., Checkout]) -> None:
    """ENGINE=docker without an engine: a sentence, not a fallback."""
    error = make_checkout(ENGINE="docker", DOCKER_HOST="tcp://127.0.0.1:1").run("up", code=4).stderr
    assert "No Docker engine answers" in error
    assert "ENGINE=auto" in error


def test_docker_stopped_mid_way(make_checkout: Callable[..., Checkout], docker_engine: str) -> None:
    """A docker environment whose engine went away: tasks say so and that the data stays."""
    checkout = make_checkout(ENGINE=docker_engine)
    checkout.run("up")
    for task in ("down", "logs"):
        error = checkout.run(task, code=4, DOCKER_HOST="tcp://127.0.0.1:1").stderr
        assert "does not answer" in error
        assert "stays there" in error


def test_docker_without_compose(make_checkout: Callable[..., Checkout], docker_engine: str) -> None:
    """A docker command without the compose plugin is named, with what to install."""
    checkout = make_checkout(ENGINE=docker_engine)
    fake = checkout.root / "bin"
    fake.mkdir()
    (fake / "docker").write_text("#!/bin/sh\necho \"docker: 'compose' is not a docker command.\" >&2\nexit 1\n")
    (fake / "docker").chmod(0o755)
    error = checkout.run("up", code=4, PATH=f"{fake}:{checkout.environ['PATH']}").stderr
    assert "`docker compose` does not" in error


def test_paused_servers_go_on_with_up(checkout: Checkout) -> None:
    """Servers that somebody paused are resumed by up, on their own ports."""
    checkout.run("up")
    before = checkout.environment.state.postgres_port
    if checkout.environ["ENGINE"] == "docker":
        name = checkout.environment.state.name
        subprocess.run(["docker", "pause", f"{name}-postgres-1", f"{name}-redis-1"], check=True, capture_output=True)
    else:
        pid = (checkout.root / ".drydock" / "volumes" / "postgres-16-1" / "postmaster.pid").read_text().split()[0]
        subprocess.run(["kill", "-STOP", pid], check=True)
    assert checkout.json("status", code=5)["status"] == "fail"
    checkout.run("up")
    assert checkout.json("status")["status"] == "pass"
    assert checkout.environment.state.postgres_port == before
