"""SIGKILL and SIGINT in every phase of up and reset: the next run heals, and nothing is half."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import time
from typing import TYPE_CHECKING

import pytest

from drydock import postgres
from drydock.errors import DrydockError, NotReadyError

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    from tests.checkout import Checkout

COUNT = "SELECT count(*) FROM messages"
PHASES = ("wrote .env", "engine:", " start ", " wait until usable ", " migrate ")


def strike(process: subprocess.Popen[str], marker: str, number: signal.Signals) -> None:
    """Send a signal as soon as the process writes a line with the marker."""
    assert process.stderr is not None
    for line in process.stderr:
        if marker in line:
            break
    else:
        pytest.fail(f"{marker!r} never came")
    process.send_signal(number)
    process.communicate(timeout=60)


@pytest.mark.parametrize("marker", PHASES)
def test_up_killed_in_any_phase_heals(checkout: Checkout, marker: str) -> None:
    """SIGKILL right after each phase's line; the next up finishes the job."""
    strike(checkout.start("up"), marker, signal.SIGKILL)
    checkout.run("up")
    assert checkout.query(COUNT) == [(1194,)]
    assert checkout.json("up")["changed"] is False


def test_up_interrupted_says_how_to_go_on(checkout: Checkout) -> None:
    """Ctrl-C: exit code 130, no traceback, and the next up finishes the job."""
    process = checkout.start("up")
    assert process.stderr is not None
    told = ""
    for line in process.stderr:
        told += line
        if "engine:" in line:
            process.send_signal(signal.SIGINT)
            break
    told += process.communicate(timeout=60)[1]
    assert process.returncode == 130, told
    assert "Traceback" not in told
    checkout.run("up")
    assert checkout.json("status")["status"] == "pass"


DOCKER = """#!/bin/sh
# The real docker, which begins to create containers only when told to.
case "$*" in *" up "*) echo creating > {gate}/asked; read -r go < {gate}/go ;; esac
exec {docker} "$@"
"""


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """A folder for PATH with that docker: it writes to `asked` before it creates containers, and reads from `go`."""
    docker, gate = shutil.which("docker"), tmp_path / "bin"
    gate.mkdir()
    for name in ("asked", "go"):
        os.mkfifo(gate / name)
    (gate / "docker").write_text(DOCKER.format(gate=gate, docker=docker))
    (gate / "docker").chmod(0o755)
    return gate


def test_a_port_taken_before_the_first_start_moves(
    docker_engine: str, make_checkout: Callable[..., Checkout], gate: Path
) -> None:
    """Somebody takes the chosen port while images are made: the first up goes on with another one."""
    checkout = make_checkout(ENGINE=docker_engine)
    process = checkout.start("up", PATH=f"{gate}:{os.environ['PATH']}")
    assert (gate / "asked").read_text() == "creating\n"
    port = checkout.environment.state.postgres_port
    (gate / "docker").unlink()  # the next attempt finds the real one
    with socket.create_server(("127.0.0.1", port)):
        (gate / "go").write_text("go\n")
        out, err = process.communicate(timeout=120)
    assert process.returncode == 0, out + err
    assert f"port {port} is taken by" in err
    assert checkout.environment.state.postgres_port != port
    assert checkout.query(COUNT) == [(1194,)]


def test_what_a_killed_up_left_at_work_is_waited_for(
    docker_engine: str, make_checkout: Callable[..., Checkout], gate: Path
) -> None:
    """`docker compose` outlives the SIGKILL of its task; the next up does not create the same containers beside it."""
    checkout = make_checkout(ENGINE=docker_engine)
    killed = checkout.start("up", PATH=f"{gate}:{os.environ['PATH']}")
    assert (gate / "asked").read_text() == "creating\n"
    killed.kill()
    killed.wait()
    rerun = checkout.start("up")
    assert rerun.stderr is not None
    said = ""
    while "waiting for" not in said:
        said += rerun.stderr.readline()
    (gate / "go").write_text("go\n")
    out, err = rerun.communicate(timeout=120)
    killed.communicate()
    assert f"waiting for invoke up, process {killed.pid}" in said
    assert rerun.returncode == 0, out + err
    assert checkout.query(COUNT) == [(1194,)]


def test_two_ups_at_once_both_succeed(checkout: Checkout) -> None:
    """One waits for the other; one environment comes out of it."""
    processes = [checkout.start("up") for _ in range(2)]
    results = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], results
    assert sum("waiting for invoke up" in err for _, err in results) == 1
    assert sum("nothing to do" in out for out, _ in results) == 1
    assert checkout.query(COUNT) == [(1194,)]


@pytest.mark.parametrize("database", ["app__building", "app__coming", "app__leaving"])
def test_reset_killed_in_any_phase_is_old_or_new(scratch: Checkout, database: str) -> None:
    """SIGKILL while the template is built, cloned or the old data is dropped: `up` heals to the old or the new data."""
    scratch.run("reset")
    scratch.query("INSERT INTO organizations (id, slug, name) VALUES (gen_random_uuid(), 'mine', 'Mine')")
    process = scratch.start("reset", "--rebuild")
    seen = until(scratch, lambda names: database in names, process)
    process.kill()
    process.communicate(timeout=30)
    assert seen, f"{database} was never seen"
    # Only now: the kill may have hit the moment in which the database is closed to newcomers.
    scratch.run("up")
    assert scratch.query("SELECT count(*) FROM organizations WHERE slug = 'mine'")[0][0] in {0, 1}
    assert scratch.query(COUNT) == [(1194,)]
    scratch.run("reset")
    assert scratch.query("SELECT count(*) FROM organizations WHERE slug = 'mine'") == [(0,)]
    # The server may still be dropping what left; asked to drop it once more, it answers when that is done.
    with postgres.administer(scratch.environment) as connection:
        connection.execute("DROP DATABASE IF EXISTS app__leaving")
    left = scratch.query("SELECT datname FROM pg_database WHERE datname IN ('app__building', 'app__coming')")
    assert left == []


def test_a_swap_cut_off_between_doors_and_names_heals(scratch: Checkout) -> None:
    """Killed after the live database was closed to newcomers: up opens it again."""
    environment = scratch.environment
    with postgres.administer(environment) as connection:
        connection.execute("ALTER DATABASE app ALLOW_CONNECTIONS false")
    with pytest.raises(NotReadyError, match="not currently accepting"):
        scratch.query("SELECT 1")
    scratch.run("up")
    assert scratch.query("SELECT 1") == [(1,)]


def until(checkout: Checkout, found: Callable[[set[str]], bool], process: subprocess.Popen[str]) -> bool:
    """Watch the server's databases while the process runs; True as soon as `found` says so."""
    environment = checkout.environment
    deadline = time.monotonic() + 60
    with postgres.administer(environment) as connection:
        while time.monotonic() < deadline and process.poll() is None:
            try:
                names = {str(row[0]) for row in connection.execute("SELECT datname FROM pg_database")}
            except DrydockError:
                return False
            if found(names):
                return True
    return False
