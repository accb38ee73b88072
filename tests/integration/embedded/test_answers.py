"""The embedded engine's servers, running: who may connect, what they say, and what is said of them."""

from __future__ import annotations

import os
import pty
import select
import signal
import socket
import subprocess
import termios
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import psycopg
import pytest

from drydock.engine import POSTGRES, REDIS, SERVICES, process_table
from drydock.errors import EngineError
from tests.bare_engine import SECRETS, Bare, until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.embedded, pytest.mark.usefixtures("embedded_engine")]


def test_absent_before_the_first_start(checkout: Bare) -> None:
    """Nothing runs, nothing is there, and stopping it is no error."""
    assert {checkout.status(service) for service in SERVICES} == {"absent"}
    assert checkout.engine.stop() is False
    assert checkout.engine.volumes() == []
    assert checkout.engine.destroy() == []
    assert list(checkout.engine.logs(POSTGRES, lines=5)) == []


def test_both_servers_answer(running: Bare) -> None:
    """A started environment has the right Postgres, pgvector and a Redis that knows its password."""
    assert "running" == running.status(POSTGRES) == running.status(REDIS)
    assert running.ask("SHOW data_checksums") == "on"
    assert running.ask("SELECT datcollate FROM pg_database WHERE datname = 'template0'") == "C.UTF-8"
    assert running.ask("SELECT name FROM pg_available_extensions WHERE name = 'vector'") == "vector"
    assert running.ask_redis("PING") == "PONG"


def test_configured_as_declared(running: Bare) -> None:
    """The server reads the rendered configuration, the log comes through, and nothing in it was refused."""
    assert running.ask("SHOW track_commit_timestamp") == "on"
    assert running.ask("SELECT count(*)::text FROM pg_file_settings WHERE error IS NOT NULL") == "0"


def test_only_scram_opens(running: Bare) -> None:
    """A wrong password is refused, and so is none; no line of the rules trusts anybody."""
    for password in ("wrong-password", ""):
        with pytest.raises(psycopg.OperationalError, match="password"):
            running.connect(password=password)
    with running.connect() as connection:
        methods = connection.execute("SELECT DISTINCT auth_method FROM pg_hba_file_rules").fetchall()
        verifier = connection.execute("SELECT rolpassword FROM pg_authid WHERE rolname = 'postgres'").fetchone()
    assert methods == [("scram-sha-256",)]
    assert verifier
    assert str(verifier[0]).startswith("SCRAM-SHA-256$")


def test_redis_refuses_strangers(running: Bare) -> None:
    """Without the password Redis answers nothing."""
    with socket.create_connection(("127.0.0.1", running.environment.state.redis_port), timeout=5) as stream:
        stream.sendall(b"PING\r\n")
        assert stream.recv(100).startswith(b"-NOAUTH")


def test_loopback_only(running: Bare) -> None:
    """Both servers listen on 127.0.0.1 and nowhere else, Unix sockets included."""
    for service in SERVICES:
        connections = psutil.Process(running.pid(service)).net_connections("all")
        listening = {c.laddr for c in connections if c.status == psutil.CONN_LISTEN}
        assert listening == {("127.0.0.1", getattr(running.environment.state, f"{service}_port"))}
        assert [c.laddr for c in connections if c.family == socket.AF_UNIX and c.laddr] == []


def test_not_root(running: Bare) -> None:
    """As root, both servers run without any capability, and their files are still root's."""
    if os.geteuid() != 0:
        pytest.skip("only root has something to give up")
    for service in SERVICES:
        status = Path(f"/proc/{running.pid(service)}/status").read_text()
        assert "CapEff:\t0000000000000000" in status
        assert Path("/proc/self/ns/user").readlink() != Path(f"/proc/{running.pid(service)}/ns/user").readlink()
        assert running.engine.volume(service).stat().st_uid == 0


def test_second_start_changes_nothing(running: Bare) -> None:
    """Servers that run as declared are left alone, without a word."""
    before, running.reported = [running.pid(service) for service in SERVICES], []

    running.start()

    assert before == [running.pid(service) for service in SERVICES]
    assert running.reported == []


def test_passwords_stay_out_of_sight(running: Bare) -> None:
    """No password is in any process's arguments, in a log, or readable by others."""
    running.engine.run("psql", ["-c", "SELECT 1", "postgres"], stdout=subprocess.DEVNULL).communicate()
    ours = set(process_table.inside(running.engine.folder))
    # process_iter passes over those that end meanwhile: backends come and go.
    seen = "\n".join(" ".join(p.info["cmdline"] or ()) for p in psutil.process_iter(["cmdline"]) if p.pid in ours)
    for log in (running.engine.folder / "logs").iterdir():
        seen += log.read_text()
        assert log.stat().st_mode & 0o777 == 0o600
    assert "postgres" in seen
    assert [secret for secret in SECRETS.values() if secret in seen] == []
    assert [(running.engine.folder / name).stat().st_mode & 0o777 for name in ("volumes", "run")] == [0o700, 0o700]


def test_run_is_connected_as_superuser(running: Bare, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client program finds the server by itself, whatever the user's own PG variables say."""
    monkeypatch.setenv("PGHOST", "elsewhere.invalid")
    monkeypatch.setenv("PGSSLMODE", "require")

    process = running.engine.run("psql", ["-At", "postgres"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    output, errors = process.communicate(b"SELECT current_user;\n")

    assert (output, errors, process.returncode) == (b"postgres\n", b"", 0)


@pytest.mark.parametrize("program", ["pg_dump", "pg_basebackup", "pg_resetwal"])
def test_run_knows_the_servers_own_programs(running: Bare, program: str) -> None:
    """Every program of the wheel runs, those that refuse root included."""
    process = running.engine.run(program, ["--version"], stdout=subprocess.PIPE)

    assert f"{program} (PostgreSQL) 16".encode() in process.communicate()[0]


def test_unknown_program(running: Bare) -> None:
    """A program that is not there is a sentence."""
    with pytest.raises(EngineError, match="no program pg_nothing"):
        running.engine.run("pg_nothing", [])


def test_interactive_returns_the_exit_code(running: Bare, capfd: pytest.CaptureFixture[str]) -> None:
    """Psql's and redis-cli's own exit codes and output come back; Ctrl-C is ours again afterwards."""
    before = signal.getsignal(signal.SIGINT)

    assert running.engine.interactive("redis-cli", ["PING"]) == 0
    assert running.engine.interactive("psql", ["--version"]) == 0
    assert running.engine.interactive("psql", ["-c", "SELECT 1", "no_such_database"]) != 0

    output = capfd.readouterr().out
    assert "PONG" in output
    assert "psql (PostgreSQL) 16" in output
    assert before == signal.getsignal(signal.SIGINT)


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """Both ends of a terminal: the user's, and the programs'."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    yield ours, theirs
    os.close(ours)
    os.close(theirs)


def read_until(terminal: int, text: str) -> str:
    """What comes out of a terminal up to and with `text`."""
    seen = ""
    while text not in seen:
        assert select.select([terminal], [], [], 20)[0], f"{text!r} never came: {seen!r}"
        seen += os.read(terminal, 4096).decode(errors="replace")
    return seen


def test_interactive_on_a_terminal(running: Bare, terminal: tuple[int, int]) -> None:
    """On a terminal psql is the application's role, knows the terminal, and Ctrl-C cancels the query, not the task."""
    ours, theirs = terminal
    process = running.elsewhere(
        "import fcntl, os, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.environ['TERM'] = 'xterm';"
        "sys.exit(engine.interactive('psql', []))",
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    try:
        read_until(ours, "app=> ")
        os.write(ours, b"SELECT pg_sleep(60);\n")
        until(lambda: running.ask("SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND usename = 'app'"))
        os.write(ours, b"\x03")
        read_until(ours, "canceling statement due to user request")
        # Ctrl-A and Ctrl-K clear the line by an escape sequence, where the terminal is known.
        os.write(ours, b"nonsense\x01\x0bSELECT 40 + 2;\n")
        assert "\x1b[K" in read_until(ours, " 42\r\n")
        os.write(ours, b"\\q\n")
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()


def test_inspect_is_cheap(running: Bare) -> None:
    """A look at both services takes well under 5 ms: it is asked on every poll of a wait."""
    rounds = 50
    before = time.process_time()
    for _ in range(rounds):
        running.engine.inspect()
    assert (time.process_time() - before) / rounds < 0.005


def test_volumes_and_checks(running: Bare) -> None:
    """Sizes are those on disk, the major is known, and a healthy engine passes its own checks."""
    volumes = {volume.service: volume for volume in running.engine.volumes()}

    assert set(volumes) == {POSTGRES, REDIS}
    assert volumes[POSTGRES].major == 16
    assert (volumes[POSTGRES].size or 0) > 20_000_000
    assert all(check.passed for check in running.engine.checks())


def test_logs_tail_and_follow(running: Bare) -> None:
    """The last lines come first, then those to come, and the caller may leave at any time."""
    follow = running.engine.logs(POSTGRES, lines=1, follow=True)
    assert next(follow) == running.log.splitlines()[-1]
    with running.connect() as connection:
        connection.execute("DO $$ BEGIN RAISE LOG 'a line to come'; END $$")

    assert any("a line to come" in line for line, _ in zip(follow, range(20), strict=False))

    del follow
