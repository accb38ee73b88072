"""The embedded engine on real servers: how they start, how they are found again, and what they survive."""

from __future__ import annotations

import json
import os
import pty
import select
import shutil
import signal
import socket
import subprocess
import sys
import termios
import threading
import time
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import psutil
import psycopg
import pytest

from drydock import ports, redis_client
from drydock.checkout import SUPERUSER, Role
from drydock.engine import POSTGRES, REDIS, SERVICES, cluster, process_table, processes
from drydock.engine.configuration import compose_folder
from drydock.engine.embedded import EmbeddedEngine
from drydock.environment import Environment
from drydock.errors import EngineError
from drydock.settings import Settings
from drydock.state import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.embedded, pytest.mark.usefixtures("embedded_engine")]

T = TypeVar("T")

SECRETS: dict[str, Any] = {
    "postgres_password": "superuser-secret-1",
    "owner_password": "owner-secret-22",
    "app_password": "app-secret-333",
    "backup_password": "backup-secret-55555",
    "redis_password": "redis-secret-4444",
}
AWKWARD = 'it\'s a "dry" $dock; ü'
# The same environment in another process: started there, or looked at there.
ELSEWHERE = """
import json, sys
from pathlib import Path
from drydock.engine.embedded import EmbeddedEngine
from drydock.environment import Environment
from drydock.settings import Settings
from drydock.state import State
given = json.loads(sys.argv[1])
settings = Settings(root=Path(given["root"]), **given["secrets"])
engine = EmbeddedEngine(Environment(settings, State(**given["state"])))
"""


@dataclass
class Checkout:
    """A checkout of its own with the embedded engine, and what was reported to its user."""

    engine: EmbeddedEngine
    reported: list[str] = field(default_factory=list)

    @property
    def environment(self) -> Environment:
        """What the engine was made from."""
        assert isinstance(self.engine.checkout, Environment)
        return self.engine.checkout

    @property
    def volume(self) -> Path:
        """The Postgres data directory."""
        return self.engine.volume(POSTGRES)

    @property
    def log(self) -> str:
        """All that Postgres and its initialisation wrote."""
        return (self.engine.folder / "logs" / "postgres.log").read_text()

    def start(self) -> None:
        """Start the servers, noting what the user is told."""
        self.engine.start(self.reported.append)

    def status(self, service: str = POSTGRES) -> str:
        """What `inspect` says of a service."""
        return self.engine.inspect()[service].status

    def pid(self, service: str = POSTGRES) -> int:
        """The process of a running service."""
        pid = self.engine.servers[service].pid(self.engine.volume(service))
        assert pid
        return pid

    def connect(self, password: str | None = None) -> psycopg.Connection[tuple[object, ...]]:
        """Connect as the superuser as soon as the server lets anybody in."""
        secret = SECRETS["postgres_password"] if password is None else password
        url = self.environment.database_url(Role(SUPERUSER, secret), SUPERUSER)
        return until(lambda: psycopg.connect(url, autocommit=True), lambda: self.status() == "running")

    def ask(self, query: str) -> object:
        """The single value of a query, as the superuser."""
        with self.connect() as connection:
            row = connection.execute(query).fetchone()
            assert row
            return row[0]

    def ask_redis(self, *words: str) -> str:
        """Ask Redis as soon as it listens and has loaded its data."""

        def attempt() -> str:
            with redis_client.connect(self.environment) as redis:
                return redis.ask(*words)

        return until(attempt, lambda: self.status(REDIS) == "running")

    def elsewhere(self, code: str, **options: Any) -> subprocess.Popen[str]:
        """Run `code` on this environment in a process of its own."""
        state = self.environment.state
        given = {"root": str(self.environment.settings.root), "secrets": SECRETS, "state": state.__dict__}
        return subprocess.Popen(
            [sys.executable, "-c", ELSEWHERE + code, json.dumps(given)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            text=True,
            **{"stdout": subprocess.PIPE, **options},
        )


def until(attempt: Callable[[], T], hopeful: Callable[[], bool] = lambda: True, seconds: float = 20) -> T:
    """The first result of `attempt` that is neither false nor a refused connection."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            result = attempt()
            if result:
                return result
        except (ConnectionRefusedError, redis_client.RedisReplyError):
            pass
        except psycopg.OperationalError as error:
            if "password" in str(error):
                raise
        assert hopeful(), "the server ended"
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.02)


def make(root: Path) -> Checkout:
    root.mkdir(exist_ok=True)
    (root / "tasks.py").touch()
    postgres = ports.pick(str(root))
    redis = ports.pick(str(root), avoid=[postgres])
    state = State(
        checkout="c0ffee00",
        root=str(root),
        name="drydock-test",
        engine="embedded",
        postgres_port=postgres,
        redis_port=redis,
    )
    environment = Environment(Settings(root=root, **SECRETS), state)
    environment.state_file.prepare()
    return Checkout(EmbeddedEngine(environment))


def end(checkout: Checkout) -> None:
    """Give the environment up, and see that nothing of it is left running."""
    checkout.engine.destroy()
    assert process_table.inside(checkout.engine.folder) == []


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Checkout]:
    """A checkout that was never started."""
    made = make(tmp_path / "checkout")
    yield made
    end(made)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    """A started checkout in an awkwardly named folder, for tests that leave it as it was."""
    made = make(tmp_path_factory.mktemp("running") / AWKWARD)
    made.start()
    with made.connect() as connection:
        connection.execute(f"CREATE ROLE app LOGIN PASSWORD '{SECRETS['app_password']}'")
        connection.execute("CREATE DATABASE app")
    yield made
    end(made)


@pytest.fixture
def started(checkout: Checkout) -> Checkout:
    """A started checkout to be broken, with a committed row in it."""
    checkout.start()
    with checkout.connect() as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    return checkout


def test_absent_before_the_first_start(checkout: Checkout) -> None:
    """Nothing runs, nothing is there, and stopping it is no error."""
    assert {checkout.status(service) for service in SERVICES} == {"absent"}
    assert checkout.engine.stop() is False
    assert checkout.engine.volumes() == []
    assert checkout.engine.destroy() == []
    assert list(checkout.engine.logs(POSTGRES, lines=5)) == []


def test_both_servers_answer(running: Checkout) -> None:
    """A started environment has the right Postgres, pgvector and a Redis that knows its password."""
    assert "running" == running.status(POSTGRES) == running.status(REDIS)
    assert running.ask("SHOW data_checksums") == "on"
    assert running.ask("SELECT datcollate FROM pg_database WHERE datname = 'template0'") == "C.UTF-8"
    assert running.ask("SELECT name FROM pg_available_extensions WHERE name = 'vector'") == "vector"
    assert running.ask_redis("PING") == "PONG"


def test_configured_as_declared(running: Checkout) -> None:
    """The server reads the rendered configuration, the log comes through, and nothing in it was refused."""
    assert running.ask("SHOW track_commit_timestamp") == "on"
    assert running.ask("SELECT count(*)::text FROM pg_file_settings WHERE error IS NOT NULL") == "0"


def test_only_scram_opens(running: Checkout) -> None:
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


def test_redis_refuses_strangers(running: Checkout) -> None:
    """Without the password Redis answers nothing."""
    with socket.create_connection(("127.0.0.1", running.environment.state.redis_port), timeout=5) as stream:
        stream.sendall(b"PING\r\n")
        assert stream.recv(100).startswith(b"-NOAUTH")


def test_loopback_only(running: Checkout) -> None:
    """Both servers listen on 127.0.0.1 and nowhere else, Unix sockets included."""
    for service in SERVICES:
        connections = psutil.Process(running.pid(service)).net_connections("all")
        listening = {c.laddr for c in connections if c.status == psutil.CONN_LISTEN}
        assert listening == {("127.0.0.1", getattr(running.environment.state, f"{service}_port"))}
        assert [c.laddr for c in connections if c.family == socket.AF_UNIX and c.laddr] == []


def test_not_root(running: Checkout) -> None:
    """As root, both servers run without any capability, and their files are still root's."""
    if os.geteuid() != 0:
        pytest.skip("only root has something to give up")
    for service in SERVICES:
        status = Path(f"/proc/{running.pid(service)}/status").read_text()
        assert "CapEff:\t0000000000000000" in status
        assert Path("/proc/self/ns/user").readlink() != Path(f"/proc/{running.pid(service)}/ns/user").readlink()
        assert running.engine.volume(service).stat().st_uid == 0


def test_second_start_changes_nothing(running: Checkout) -> None:
    """Servers that run as declared are left alone, without a word."""
    before, running.reported = [running.pid(service) for service in SERVICES], []

    running.start()

    assert before == [running.pid(service) for service in SERVICES]
    assert running.reported == []


def test_passwords_stay_out_of_sight(running: Checkout) -> None:
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


def test_run_is_connected_as_superuser(running: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client program finds the server by itself, whatever the user's own PG variables say."""
    monkeypatch.setenv("PGHOST", "elsewhere.invalid")
    monkeypatch.setenv("PGSSLMODE", "require")

    process = running.engine.run("psql", ["-At", "postgres"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    output, errors = process.communicate(b"SELECT current_user;\n")

    assert (output, errors, process.returncode) == (b"postgres\n", b"", 0)


@pytest.mark.parametrize("program", ["pg_dump", "pg_basebackup", "pg_resetwal"])
def test_run_knows_the_servers_own_programs(running: Checkout, program: str) -> None:
    """Every program of the wheel runs, those that refuse root included."""
    process = running.engine.run(program, ["--version"], stdout=subprocess.PIPE)

    assert f"{program} (PostgreSQL) 16".encode() in process.communicate()[0]


def test_unknown_program(running: Checkout) -> None:
    """A program that is not there is a sentence."""
    with pytest.raises(EngineError, match="no program pg_nothing"):
        running.engine.run("pg_nothing", [])


def test_interactive_returns_the_exit_code(running: Checkout, capfd: pytest.CaptureFixture[str]) -> None:
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


def test_interactive_on_a_terminal(running: Checkout, terminal: tuple[int, int]) -> None:
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


def test_inspect_is_cheap(running: Checkout) -> None:
    """A look at both services takes well under 5 ms: it is asked on every poll of a wait."""
    rounds = 50
    before = time.process_time()
    for _ in range(rounds):
        running.engine.inspect()
    assert (time.process_time() - before) / rounds < 0.005


def test_volumes_and_checks(running: Checkout) -> None:
    """Sizes are those on disk, the major is known, and a healthy engine passes its own checks."""
    volumes = {volume.service: volume for volume in running.engine.volumes()}

    assert set(volumes) == {POSTGRES, REDIS}
    assert volumes[POSTGRES].major == 16
    assert (volumes[POSTGRES].size or 0) > 20_000_000
    assert all(check.passed for check in running.engine.checks())


def test_logs_tail_and_follow(running: Checkout) -> None:
    """The last lines come first, then those to come, and the caller may leave at any time."""
    follow = running.engine.logs(POSTGRES, lines=1, follow=True)
    assert next(follow) == running.log.splitlines()[-1]
    with running.connect() as connection:
        connection.execute("DO $$ BEGIN RAISE LOG 'a line to come'; END $$")

    assert any("a line to come" in line for line, _ in zip(follow, range(20), strict=False))

    del follow


def test_survives_the_process_that_started_it(checkout: Checkout) -> None:
    """Servers go on after the task and its session have ended, and the next task finds them."""
    starter = checkout.elsewhere("engine.start(print)")
    assert starter.wait(60) == 0
    starter.communicate()

    assert checkout.ask("SELECT 1") == 1
    assert checkout.status(REDIS) == "running"
    before = checkout.pid()
    checkout.start()
    assert before == checkout.pid()


def test_starter_killed_while_waiting_is_no_harm(checkout: Checkout) -> None:
    """SIGKILL of the task just after the launch leaves servers that the next start adopts or restarts."""
    starter = checkout.elsewhere("engine.start(print); print('launched', flush=True); import time; time.sleep(60)")
    assert starter.stdout
    until(lambda: "launched" in (starter.stdout.readline() if starter.stdout else ""))
    starter.kill()
    starter.communicate()

    checkout.start()

    assert checkout.ask("SELECT 1") == 1


def test_launch_that_was_never_noted(started: Checkout) -> None:
    """A task killed between launch and note leaves a server that is found by its folder, and is not started twice."""
    shutil.rmtree(started.engine.folder / "run")
    assert "running" == started.status() == started.status(REDIS)

    started.start()

    assert started.ask("SELECT answer FROM kept") == 42


def test_stop_is_clean(started: Checkout) -> None:
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


def test_stop_ends_connections_that_are_busy(started: Checkout) -> None:
    """An open transaction does not keep the server from stopping."""
    with started.connect() as connection:
        connection.execute("BEGIN")
        connection.execute("LOCK TABLE kept")
        assert started.engine.stop() is True
        connection.close()


def test_stop_that_takes_too_long(started: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that does not end in time is named with its log, and is not killed."""
    monkeypatch.setattr(processes, "STOP_TIMEOUT", 0.0)
    before = started.pid()

    with pytest.raises(EngineError, match=rf"postgres \(process {before}\) has not ended"):
        started.engine.stop()

    monkeypatch.undo()
    started.engine.stop()


def freeze(checkout: Checkout) -> None:
    """Stop every process of Postgres where it stands, as pausing a container does."""
    for pid in process_table.inside(checkout.volume):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)


def test_paused(started: Checkout) -> None:
    """A frozen server is `paused`, a start lets it go on, and a stop of a frozen one is as clean as any."""
    freeze(started)
    until(lambda: started.status() == "paused")

    started.start()
    assert started.ask("SELECT answer FROM kept") == 42

    freeze(started)
    assert started.engine.stop() is True
    assert "database system is shut down" in started.log.splitlines()[-1]


def test_changed_settings_restart(started: Checkout) -> None:
    """A server that runs otherwise than declared is started again, and says so."""
    before = started.pid(REDIS)
    started.environment.settings = replace(started.environment.settings, redis_maxmemory="128mb")

    started.start()

    assert before != started.pid(REDIS)
    assert "redis runs otherwise than declared: starting it again" in started.reported
    assert started.ask("SELECT answer FROM kept") == 42


def test_stale_pid_file_of_a_live_stranger(started: Checkout) -> None:
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


def test_stale_pid_file_of_a_zombie(started: Checkout) -> None:
    """A killed postmaster that nobody collected still has its number, and Postgres alone would refuse to start."""
    started.engine.stop()
    with subprocess.Popen(["true"]) as dead:
        until(lambda: psutil.Process(dead.pid).status() == psutil.STATUS_ZOMBIE)
        (started.volume / "postmaster.pid").write_text(f"{dead.pid}\n{started.volume}\n")

        started.start()

        assert started.ask("SELECT answer FROM kept") == 42


def test_killed_postmaster(started: Checkout) -> None:
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


def test_killed_redis(started: Checkout) -> None:
    """Redis comes back after kill -9 with every write it answered."""
    started.ask_redis("SET", "kept", "42")
    os.kill(started.pid(REDIS), signal.SIGKILL)
    until(lambda: started.status(REDIS) == "exited")

    started.start()

    assert started.ask_redis("GET", "kept") == "42"
    assert started.status() == "running"


def test_exit_code_of_a_server_that_died(started: Checkout) -> None:
    """Where the server was our own child its exit code is known."""
    os.kill(started.pid(REDIS), signal.SIGKILL)
    until(lambda: started.status(REDIS) == "exited")

    assert started.engine.inspect()[REDIS].exit_code == -signal.SIGKILL


def test_stop_after_a_kill(started: Checkout) -> None:
    """A dead server is no obstacle to stopping: afterwards it counts as stopped."""
    for service in SERVICES:
        os.kill(started.pid(service), signal.SIGKILL)
    until(lambda: "running" not in {started.status(service) for service in SERVICES})

    started.engine.stop()

    assert {started.status(service) for service in SERVICES} == {"absent"}


def test_initialisation_killed_with_its_task(checkout: Checkout) -> None:
    """SIGKILL of the task during initdb leaves no data directory; the next start clears up and succeeds."""
    starter = checkout.elsewhere("engine.start(print)")
    volumes = checkout.volume.parent
    until(lambda: list(volumes.glob(".init-*/data/base/1")) if volumes.exists() else [])
    starter.kill()
    starter.communicate()
    assert not checkout.volume.exists()

    checkout.start()

    assert checkout.ask("SELECT 1") == 1
    assert list(volumes.glob(".*")) == []


def test_initdb_killed(checkout: Checkout) -> None:
    """An initdb that dies half-way is an error with nothing left behind, and the next start is a fresh one."""
    volumes = checkout.volume.parent

    def kill() -> None:
        until(lambda: list(volumes.glob(".init-*/data/base/1")) if volumes.exists() else [])
        for pid in process_table.inside(volumes):
            seen = process_table.look(pid)
            if seen and seen.name in {"initdb", "postgres"}:
                os.kill(pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(EngineError, match="Could not initialise the Postgres data directory"):
        checkout.start()
    killer.join()
    assert [path.name for path in volumes.iterdir()] == ["redis"]

    checkout.start()

    assert checkout.ask("SELECT 1") == 1


def test_leftover_of_an_initialisation(checkout: Checkout) -> None:
    """A half made folder never has the final name, and is cleared away."""
    half = checkout.volume.parent / ".init-abc" / "data"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("16\n")

    checkout.start()

    assert checkout.ask("SELECT 1") == 1
    assert not half.exists()


@pytest.mark.parametrize("name", ["postgres-15-1", "postgres-16-1"])
def test_other_major_is_refused(checkout: Checkout, name: str) -> None:
    """Data of another major stops the start before anything runs, naming both majors and what to do."""
    folder = checkout.volume.parent / name
    folder.mkdir(parents=True)
    (folder / "PG_VERSION").write_text("15\n")

    with pytest.raises(EngineError, match=r"holds data of Postgres 15; this drydock runs 16") as caught:
        checkout.start()

    assert "Dump it with Postgres 15" in caught.value.hint
    assert {checkout.status(service) for service in SERVICES} == {"absent"}
    assert (folder / "PG_VERSION").read_text() == "15\n"


def test_folder_that_is_no_cluster_is_refused(checkout: Checkout) -> None:
    """Somebody's files in the volume's place are not initialised over."""
    checkout.volume.mkdir(parents=True)
    (checkout.volume / "notes.txt").write_text("mine")

    with pytest.raises(EngineError, match="is no Postgres data directory"):
        checkout.start()


@pytest.mark.parametrize("service", SERVICES)
def test_taken_port_ends_the_wait_at_once(checkout: Checkout, service: str) -> None:
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


def test_bad_configuration_shows_as_exited(checkout: Checkout) -> None:
    """A mistake in the project's own postgresql.conf ends the wait, and the log names the line."""
    own_compose(checkout)
    with (checkout.environment.settings.root / "compose" / "postgres" / "postgresql.conf").open("a") as stream:
        stream.write("\nshared_buffers = 'a lot'\n")

    checkout.start()

    until(lambda: checkout.status() == "exited", seconds=5)
    assert "shared_buffers" in "\n".join(checkout.engine.logs(POSTGRES, lines=5))


def test_destroy_removes_only_its_own(started: Checkout, running: Checkout) -> None:
    """Volumes and logs go; another environment, and files that are not drydock's, stay."""
    mine = started.volume.parent / "postgres-16-1.kept-by-hand"
    mine.mkdir()

    assert started.engine.destroy() == ["postgres-16-1", "redis"]

    assert [mine] == list(started.volume.parent.iterdir())
    assert not (started.engine.folder / "logs").exists()
    assert running.status() == "running"
    assert running.ask("SELECT 1") == 1


def test_destroy_that_was_killed(started: Checkout) -> None:
    """A removal under way has another name already: the next start clears it and begins anew."""
    started.engine.stop()
    started.volume.rename(started.volume.with_name(f"{cluster.REMOVING}{started.volume.name}"))

    started.start()

    assert started.ask("SELECT count(*) FROM pg_class WHERE relname = 'kept'") == 0
    assert list(started.volume.parent.glob(".*")) == []


def test_copied_folder_is_not_the_server(started: Checkout, tmp_path: Path) -> None:
    """A copy of .drydock brings notes of processes that work elsewhere: they are not its own to stop."""
    copy = make(tmp_path / "copy")
    shutil.rmtree(copy.engine.folder)
    shutil.copytree(started.engine.folder, copy.engine.folder)

    assert {copy.status(service) for service in SERVICES} == {"exited"}
    copy.engine.destroy()

    assert started.ask("SELECT answer FROM kept") == 42


def test_large_log_is_set_aside(started: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log beyond its limit is rotated when the server starts."""
    monkeypatch.setattr(processes, "LOG_LIMIT", 10)
    before = started.log
    started.engine.stop()

    started.start()

    assert (started.engine.folder / "logs" / "postgres.log.1").read_text().startswith(before)
    assert started.ask("SELECT answer FROM kept") == 42


def own_compose(checkout: Checkout) -> Path:
    """Give the checkout a compose folder of its own; returns its folder of initialisation scripts."""
    target = checkout.environment.settings.root / "compose"
    shutil.copytree(compose_folder(checkout.environment.settings), target)
    return target / "postgres" / "initdb.d"


def test_initialisation_scripts(checkout: Checkout) -> None:
    """*.sql and *.sh run once, in the order of their names, before anybody else can connect."""
    scripts = own_compose(checkout)
    (scripts / "10-table.sql").write_text("CREATE TABLE made (by text);")
    (scripts / "20-sourced.sh").write_text("psql -v ON_ERROR_STOP=1 -c \"INSERT INTO made VALUES ('$POSTGRES_USER')\"")
    (scripts / "30-run.sh").write_text("#!/bin/sh\npsql -c \"INSERT INTO made VALUES ('run')\"\n")
    (scripts / "30-run.sh").chmod(0o755)

    checkout.start()

    assert checkout.ask("SELECT string_agg(by, ',' ORDER BY by) FROM made") == "postgres,run"
    assert "not properly shut down" not in checkout.log
    checkout.engine.stop()
    checkout.start()
    assert checkout.ask("SELECT count(*) FROM made") == 2


def test_failing_script_leaves_nothing(checkout: Checkout) -> None:
    """A script that fails is named with its error; mended, the next start runs them all on a fresh cluster."""
    scripts = own_compose(checkout)
    (scripts / "10-table.sql").write_text("CREATE TABLE made (by text);")
    (scripts / "20-wrong.sql").write_text("SELEC 1;")

    with pytest.raises(EngineError, match=r"Could not initialise with 20-wrong.sql: .*syntax error"):
        checkout.start()

    assert [path.name for path in checkout.volume.parent.iterdir()] == ["redis"]
    (scripts / "20-wrong.sql").write_text("INSERT INTO made VALUES ('me');")
    checkout.start()
    assert checkout.ask("SELECT count(*) FROM made") == 1


def test_refused_user_namespace(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where root may not make a namespace the sentence says what to do instead."""
    monkeypatch.setattr(processes, "namespace_problem", lambda: "A user namespace is not allowed here.")

    with pytest.raises(EngineError, match="user namespace is not allowed") as caught:
        checkout.start()

    assert "ordinary user" in caught.value.hint


def test_unwritable_folder_is_a_sentence(checkout: Checkout) -> None:
    """A problem of the file system is an error of the engine, not a traceback."""
    (checkout.engine.folder / "volumes").write_text("in the way")

    with pytest.raises(EngineError, match="Could not prepare the servers"):
        checkout.start()

    (checkout.engine.folder / "volumes").unlink()
