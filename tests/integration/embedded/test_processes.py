"""The embedded engine's processes: how they are found again, what they survive, and how they end."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import threading
from contextlib import closing, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import psutil
import psycopg
import pytest

from drydock.engine import REDIS, SERVICES, cluster, process_table, processes
from drydock.errors import EngineError
from tests.bare_engine import Bare, make, until

if TYPE_CHECKING:
    from pathlib import Path


pytestmark = [pytest.mark.embedded, pytest.mark.usefixtures("embedded_engine")]


def test_survives_the_process_that_started_it(checkout: Bare) -> None:
    """Servers go on after the task and its session have ended, and the next task finds them."""
    starter = checkout.elsewhere("engine.start(print)")
    assert starter.wait(60) == 0
    starter.communicate()

    assert checkout.ask("SELECT 1") == 1
    assert checkout.status(REDIS) == "running"
    before = checkout.pid()
    checkout.start()
    assert before == checkout.pid()


def test_starter_killed_while_waiting_is_no_harm(checkout: Bare) -> None:
    """SIGKILL of the task just after the launch leaves servers that the next start adopts or restarts."""
    starter = checkout.elsewhere("engine.start(print); print('launched', flush=True); import time; time.sleep(60)")
    assert starter.stdout
    until(lambda: "launched" in (starter.stdout.readline() if starter.stdout else ""))
    starter.kill()
    starter.communicate()

    checkout.start()

    assert checkout.ask("SELECT 1") == 1


def test_launch_that_was_never_noted(started: Bare) -> None:
    """A task killed between launch and note leaves a server that is found by its folder, and is not started twice."""
    shutil.rmtree(started.engine.folder / "run")
    assert "running" == started.status() == started.status(REDIS)

    started.start()

    assert started.ask("SELECT answer FROM kept") == 42


def test_stop_is_clean(started: Bare) -> None:
    """Postgres writes its shutdown checkpoint, Redis saves, and both are gone."""
    started.ask_redis("SET", "kept", "42")

    assert started.engine.stop() is True

    assert "database system is shut down" in started.log.splitlines()[-1]
    assert {started.status(service) for service in SERVICES} == {"absent"}
    assert started.engine.stop() is False
    started.start()
    assert started.ask("SELECT answer FROM kept") == 42
    assert "not properly shut down" not in started.log
    assert started.ask_redis("GET", "kept") == "42"


def test_stop_ends_connections_that_are_busy(started: Bare) -> None:
    """An open transaction does not keep the server from stopping."""
    with started.connect() as connection:
        connection.execute("BEGIN")
        connection.execute("LOCK TABLE kept")
        assert started.engine.stop() is True
        connection.close()


def test_stop_that_takes_too_long(started: Bare, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that does not end in time is named with its log, and is not killed."""
    monkeypatch.setattr(processes, "STOP_TIMEOUT", 0.0)
    before = started.pid()

    with pytest.raises(EngineError, match=rf"postgres \(process {before}\) has not ended"):
        started.engine.stop()

    monkeypatch.undo()
    started.engine.stop()


def freeze(checkout: Bare) -> None:
    """Stop every process of Postgres where it stands, as pausing a container does."""
    for pid in process_table.inside(checkout.volume):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)


def test_paused(started: Bare) -> None:
    """A frozen server is `paused`, a start lets it go on, and a stop of a frozen one is as clean as any."""
    freeze(started)
    until(lambda: started.status() == "paused")

    started.start()
    assert started.ask("SELECT answer FROM kept") == 42

    freeze(started)
    assert started.engine.stop() is True
    assert "database system is shut down" in started.log.splitlines()[-1]


def test_changed_settings_restart(started: Bare) -> None:
    """A server that runs otherwise than declared is started again, and says so."""
    before = started.pid(REDIS)
    started.environment.settings = replace(started.environment.settings, redis_maxmemory="128mb")

    started.start()

    assert before != started.pid(REDIS)
    assert "redis runs otherwise than declared: starting it again" in started.reported
    assert started.ask("SELECT answer FROM kept") == 42


def test_stale_pid_file_of_a_live_stranger(started: Bare) -> None:
    """After a reboot the old number may belong to anybody: they are left alone, and Postgres starts."""
    started.engine.stop()
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as stranger:
        (started.volume / "postmaster.pid").write_text(f"{stranger.pid}\n{started.volume}\n")
        note = {"pid": stranger.pid, "volume": started.volume.name, "started_with": ""}
        (started.engine.folder / "run" / "postgres.json").write_text(json.dumps(note))
        assert started.status() == "exited"

        started.start()

        assert started.ask("SELECT answer FROM kept") == 42
        assert stranger.poll() is None
        stranger.kill()
    assert any("stale postmaster.pid" in line for line in started.reported)


def test_stale_pid_file_of_a_zombie(started: Bare) -> None:
    """A killed postmaster that nobody collected still has its number, and Postgres alone would refuse to start."""
    started.engine.stop()
    with subprocess.Popen(["true"]) as dead:
        until(lambda: psutil.Process(dead.pid).status() == psutil.STATUS_ZOMBIE)
        (started.volume / "postmaster.pid").write_text(f"{dead.pid}\n{started.volume}\n")

        started.start()

        assert started.ask("SELECT answer FROM kept") == 42


def test_killed_postmaster(started: Bare) -> None:
    """After kill -9 with a busy connection the orphans are ended and committed data is there."""

    def spin(connection: psycopg.Connection[tuple[object, ...]]) -> None:
        with pytest.raises(psycopg.OperationalError):
            connection.execute("DO $$ BEGIN LOOP END LOOP; END $$")

    with started.connect() as connection:
        thread = threading.Thread(target=spin, args=(connection,))
        thread.start()
        until(lambda: started.ask("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'DO%'"))
        os.kill(started.pid(), signal.SIGKILL)
        until(lambda: started.status() == "exited")
        assert process_table.inside(started.volume), "the spinning backend is an orphan now"

        started.start()
        thread.join()
        connection.close()

    assert started.ask("SELECT answer FROM kept") == 42
    assert any("outlived" in line for line in started.reported)


def test_killed_redis(started: Bare) -> None:
    """Redis comes back after kill -9 with every write it answered."""
    started.ask_redis("SET", "kept", "42")
    os.kill(started.pid(REDIS), signal.SIGKILL)
    until(lambda: started.status(REDIS) == "exited")

    started.start()

    assert started.ask_redis("GET", "kept") == "42"
    assert started.status() == "running"


def test_exit_code_of_a_server_that_died(started: Bare) -> None:
    """Where the server was our own child its exit code is known."""
    os.kill(started.pid(REDIS), signal.SIGKILL)
    until(lambda: started.status(REDIS) == "exited")

    assert started.engine.inspect()[REDIS].exit_code == -signal.SIGKILL


def test_stop_after_a_kill(started: Bare) -> None:
    """A dead server is no obstacle to stopping: afterwards it counts as stopped."""
    for service in SERVICES:
        os.kill(started.pid(service), signal.SIGKILL)
    until(lambda: "running" not in {started.status(service) for service in SERVICES})

    started.engine.stop()

    assert {started.status(service) for service in SERVICES} == {"absent"}


@pytest.mark.parametrize("service", SERVICES)
def test_taken_port_ends_the_wait_at_once(checkout: Bare, service: str) -> None:
    """A server that cannot have its port is `exited` within two seconds, and its log says why."""
    port = getattr(checkout.environment.state, f"{service}_port")
    with closing(socket.create_server(("127.0.0.1", port))):
        checkout.start()
        until(lambda: checkout.status(service) == "exited", seconds=2)
    state = checkout.engine.inspect()[service]
    assert state.failed
    assert state.exit_code == 1
    assert "Address already in use" in "\n".join(checkout.engine.logs(service, lines=20))

    checkout.start()

    assert checkout.ask("SELECT 1") == 1
    assert checkout.status(service) == "running"


def test_destroy_removes_only_its_own(started: Bare, running: Bare) -> None:
    """Volumes and logs go; another environment, and files that are not drydock's, stay."""
    mine = started.volume.parent / "postgres-16-1.kept-by-hand"
    mine.mkdir()

    assert started.engine.destroy() == ["postgres-16-1", "redis"]

    assert [mine] == list(started.volume.parent.iterdir())
    assert not (started.engine.folder / "logs").exists()
    assert running.status() == "running"
    assert running.ask("SELECT 1") == 1


def test_destroy_that_was_killed(started: Bare) -> None:
    """A removal under way has another name already: the next start clears it and begins anew."""
    started.engine.stop()
    started.volume.rename(started.volume.with_name(f"{cluster.REMOVING}{started.volume.name}"))

    started.start()

    assert started.ask("SELECT count(*) FROM pg_class WHERE relname = 'kept'") == 0
    assert list(started.volume.parent.glob(".*")) == []


def test_copied_folder_is_not_the_server(started: Bare, tmp_path: Path) -> None:
    """A copy of .drydock brings notes of processes that work elsewhere: they are not its own to stop."""
    copy = make(tmp_path / "copy")
    shutil.rmtree(copy.engine.folder)
    shutil.copytree(started.engine.folder, copy.engine.folder)

    assert {copy.status(service) for service in SERVICES} == {"exited"}
    copy.engine.destroy()

    assert started.ask("SELECT answer FROM kept") == 42


def test_large_log_is_set_aside(started: Bare, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log beyond its limit is rotated when the server starts."""
    monkeypatch.setattr(processes, "LOG_LIMIT", 10)
    before = started.log
    started.engine.stop()

    started.start()

    assert (started.engine.folder / "logs" / "postgres.log.1").read_text().startswith(before)
    assert started.ask("SELECT answer FROM kept") == 42
