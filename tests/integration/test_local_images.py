"""The local images keep the contract of the official ones, line by line, in real containers."""

from __future__ import annotations

import gzip
import io
import lzma
import shutil
import subprocess
import tarfile
import time
from typing import TYPE_CHECKING, Any

import docker
import pytest

from drydock.images.build import build, local_tag

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from docker.models.containers import Container
    from docker.models.images import Image

    Run = Callable[..., Container]

pytestmark = pytest.mark.docker

PGDATA = "/var/lib/postgresql/data"
LABELS = {"drydock.test": "1"}
# What compose.yaml leaves the entry points: the least that lets root hand a folder over and become another user.
LEAST = {
    "cap_drop": ["ALL"],
    "cap_add": ["CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID"],
    "security_opt": ["no-new-privileges:true"],
}
QUICK = {"POSTGRES_INITDB_ARGS": "--no-sync"}


@pytest.fixture(scope="module")
def client(docker_engine: str) -> Iterator[docker.DockerClient]:
    assert docker_engine
    client = docker.from_env()
    yield client
    client.close()


@pytest.fixture(scope="module")
def postgres(client: docker.DockerClient) -> Image:
    return client.images.get(build(client, "postgres", report=print).tag)


@pytest.fixture(scope="module")
def redis(client: docker.DockerClient) -> Image:
    return client.images.get(build(client, "redis", report=print).tag)


@pytest.fixture(scope="module")
def run_shared(client: docker.DockerClient) -> Iterator[Run]:
    """Start containers; they go, with their volumes, after the module."""
    yield from _runner(client)


@pytest.fixture
def run(client: docker.DockerClient) -> Iterator[Run]:
    """Start containers; they go, with their volumes, after the test."""
    yield from _runner(client)


def _runner(client: docker.DockerClient) -> Iterator[Run]:
    started: list[Container] = []

    def run(image: Image, command: Any = None, **options: Any) -> Container:
        started.append(client.containers.create(image.id, command, labels=LABELS, **options))
        started[-1].start()
        return started[-1]

    yield run
    for container in started:
        container.remove(v=True, force=True)


def until(check: Callable[[], bool], container: Container, seconds: float = 20) -> None:
    """Wait for `check`; a container that has exited, or time running out, fails with its log."""
    deadline = time.monotonic() + seconds
    while not _now(check):
        container.reload()
        assert container.status != "exited", log(container)
        assert time.monotonic() < deadline, log(container)
        time.sleep(0.05)


def _now(check: Callable[[], bool]) -> bool:
    try:
        return check()
    except docker.errors.APIError:  # Exec in a container that has just ended.
        return False


def started(container: Container, port: int = 5432) -> Container:
    """Wait for the real server: the temporary one listens on no TCP port."""
    question = ["pg_isready", "-h", "127.0.0.1", "-p", str(port), "-U", "postgres"]
    until(lambda: container.exec_run(question).exit_code == 0, container)
    return container


def exited(container: Container) -> tuple[int, str]:
    """The exit code and the log of a container that ends by itself."""
    code: int = container.wait(timeout=20)["StatusCode"]
    return code, log(container)


def log(container: Container) -> str:
    text: str = container.logs().decode()
    return text


def sh(container: Container, command: str, **options: Any) -> str:
    """What a shell command in the container prints; it must succeed."""
    result = container.exec_run(["sh", "-c", command], **options)
    text: str = result.output.decode()
    assert result.exit_code == 0, text
    return text.rstrip("\n")


def address_of(container: Container) -> str:
    """Where other containers reach this one, which is not loopback."""
    container.reload()
    networks = container.attrs["NetworkSettings"]["Networks"]
    return next(str(network["IPAddress"]) for network in networks.values())


def file_in(container: Container, path: str) -> str:
    """A file of a container that may have ended."""
    stream, _ = container.get_archive(path)
    with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as archive:
        member = archive.extractfile(archive.getmembers()[0])
        assert member is not None
        return member.read().decode()


def step(name: str) -> str:
    return f"INSERT INTO steps (name) VALUES ('{name}');\n"


def zstd(text: str) -> bytes:
    return subprocess.run(["zstd", "-qc"], input=text.encode(), capture_output=True, check=True).stdout


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One initialisation script of every kind that this host can make."""
    folder = tmp_path_factory.mktemp("initdb.d")
    folder.chmod(0o755)
    (folder / "10-table.sql").write_text("CREATE TABLE steps (number serial, name text);\nCREATE EXTENSION vector;\n")
    run = folder / "20-run.sh"
    run.write_text(
        f'#!/bin/bash\nset -eu\npsql -v ON_ERROR_STOP=1 -U "$POSTGRES_USER" -d "$POSTGRES_DB" -c "{step("run")}"\n'
    )
    run.chmod(0o755)
    sourced = folder / "30-sourced.sh"
    sourced.write_text(f'[[ -z "$NOBODY_SET_THIS" ]] && docker_process_sql <<< "{step("sourced")}"\n')
    sourced.chmod(0o644)
    (folder / "40-gzip.sql.gz").write_bytes(gzip.compress(step("gzip").encode()))
    if shutil.which("xz"):
        (folder / "50-xz.sql.xz").write_bytes(lzma.compress(step("xz").encode()))
    if shutil.which("zstd"):
        (folder / "60-zstd.sql.zst").write_bytes(zstd(step("zstd")))
    (folder / "70-notes.txt").write_text("not a script\n")
    return folder


@pytest.fixture(scope="module")
def shop(postgres: Image, run_shared: Run, scripts: Path, tmp_path_factory: pytest.TempPathFactory) -> Container:
    """A server initialised from files, as compose.yaml starts it; its tests leave it running."""
    secrets = tmp_path_factory.mktemp("secrets")
    for name, value in {"password": "s3cret 'quoted'", "user": "owner", "db": "shop", "args": "--no-sync -k"}.items():
        (secrets / name).write_text(f"{value}\n")
        (secrets / name).chmod(0o600)
    container = run_shared(
        postgres,
        environment={
            "POSTGRES_PASSWORD_FILE": "/run/secrets/password",
            "POSTGRES_USER_FILE": "/run/secrets/user",
            "POSTGRES_DB_FILE": "/run/secrets/db",
            "POSTGRES_INITDB_ARGS_FILE": "/run/secrets/args",
        },
        volumes=[f"{secrets}:/run/secrets:ro", f"{scripts}:/docker-entrypoint-initdb.d:ro"],
        **LEAST,
    )
    return started(container)


def query(container: Container, sql: str, *, user: str = "owner", database: str = "shop") -> str:
    return sh(container, f'psql -U {user} -d {database} -qAtc "{sql}"')


def test_built_twice_is_found(client: docker.DockerClient, postgres: Image) -> None:
    """The tag names the content, so nothing is built a second time."""
    said: list[str] = []
    again = build(client, "postgres", report=said.append)
    assert (True, postgres.id, local_tag("postgres")) == (again.reused, again.image_id, again.tag)
    assert not said
    assert 20e6 < again.size < 80e6


def test_postgres_image(postgres: Image) -> None:
    """What a compose file may rely on without starting anything."""
    config = postgres.attrs["Config"]
    assert config["StopSignal"] == "SIGINT"
    assert config["Volumes"] == {PGDATA: {}}
    assert config["ExposedPorts"] == {"5432/tcp": {}}
    assert config["Entrypoint"] == ["docker-entrypoint.sh"]
    assert config["Cmd"] == ["postgres"]
    assert {f"PGDATA={PGDATA}", "PG_MAJOR=16", "LANG=C.UTF-8"} <= set(config["Env"])
    assert config["Labels"]["drydock.local"] == "true"
    assert config["Labels"]["drydock.postgres.version"].startswith("16.")
    assert config["Labels"]["drydock.pgvector.version"].startswith("0.")


def test_folders(postgres: Image, run: Run) -> None:
    """Modes and owners before any server starts; another command runs as it is, as root, without initialising."""
    paths = f"{PGDATA} /var/run/postgresql /tmp /usr/lib/postgresql/16/bin/postgres"
    code, said = exited(run(postgres, ["sh", "-c", f"stat -c '%a %u %g' {paths}; id -u; id postgres; command -v psql"]))
    lines = said.splitlines()
    assert (code, lines[:5]) == (0, ["1777 999 999", "3777 999 999", "1777 0 0", "755 0 0", "0"])
    assert lines[5] == "uid=999(postgres) gid=999(postgres) groups=999(postgres)"
    assert lines[6] == "/usr/lib/postgresql/16/bin/psql"


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({}, "no superuser password"),
        ({"POSTGRES_PASSWORD": "x", "POSTGRES_PASSWORD_FILE": "/etc/hostname"}, "POSTGRES_PASSWORD_FILE are both set"),
        ({"POSTGRES_PASSWORD": "x", "POSTGRES_DB": "a", "POSTGRES_DB_FILE": "/b"}, "POSTGRES_DB_FILE are both set"),
        ({"POSTGRES_PASSWORD_FILE": "/nowhere"}, "/nowhere"),
    ],
    ids=["none", "both", "both names", "no file"],
)
def test_password_is_asked_for(postgres: Image, run: Run, environment: dict[str, str], sentence: str) -> None:
    """No password, two, or one that cannot be read: a sentence, and a data folder that is still empty."""
    container = run(postgres, environment=environment)
    code, said = exited(container)
    assert code == 1
    assert sentence in said
    with pytest.raises(docker.errors.NotFound):
        container.get_archive(f"{PGDATA}/PG_VERSION")


@pytest.mark.parametrize("command", [["postgres", "--version"], ["--version"], ["-V"]])
def test_questions_need_no_database(postgres: Image, run: Run, command: list[str]) -> None:
    """Arguments that begin with a dash are postgres's; asking for its version needs neither password nor data."""
    code, said = exited(run(postgres, command))
    assert code == 0
    assert said.startswith("postgres (PostgreSQL) 16.")


def test_scripts_ran_in_order(shop: Container, scripts: Path) -> None:
    """Every kind, by name, in the database that was asked for; anything else is named and left alone."""
    kinds = [path.name.split(".")[0][3:] for path in sorted(scripts.iterdir())][1:-1]
    assert {"run", "sourced", "gzip"} <= set(kinds)
    assert kinds == query(shop, "SELECT name FROM steps ORDER BY number").splitlines()
    assert "ignoring /docker-entrypoint-initdb.d/70-notes.txt" in log(shop)


def test_settings_from_files(shop: Container) -> None:
    """User, database and arguments of initdb."""
    assert query(shop, "SELECT rolname, rolsuper FROM pg_roles WHERE oid = 10") == "owner|t"
    assert (
        query(
            shop,
            "SELECT current_setting('data_checksums'), current_setting('server_encoding'), datcollate,"
            " current_setting('TimeZone') FROM pg_database WHERE datname = current_database()",
        )
        == "on|UTF8|C.UTF-8|Etc/UTC"
    )


def test_vector(shop: Container) -> None:
    """The reason for this image."""
    assert query(shop, "SELECT '[0,0]'::vector <-> '[3,4]'") == "5"
    indexed = (
        "CREATE TEMP TABLE t (v vector(2)); CREATE INDEX ON t USING hnsw (v vector_l2_ops); SELECT count(*) FROM t"
    )
    assert query(shop, indexed) == "0"


def test_time_zones(shop: Container) -> None:
    """The wheel brings the zones that its server knows, to the shell as well."""
    zone = "SET TimeZone = 'America/New_York'; SELECT '2026-07-01 12:00+00'::timestamptz"
    assert query(shop, zone) == "2026-07-01 08:00:00-04"
    assert sh(shop, "TZ=America/New_York date -d 2026-07-01T12:00Z +%H") == "08"


def test_locales(shop: Container) -> None:
    """Upper and lower case beyond ASCII, and the locale as a collation."""
    assert query(shop, "SELECT upper('äö')") == "ÄÖ"
    assert query(shop, "SELECT count(*) FROM pg_collation WHERE collname = 'C.utf8'") == "1"


def test_server_is_process_1_and_postgres(shop: Container) -> None:
    """No shell in between, no privilege left, and no password in the environment of the server."""
    status = sh(shop, "cat /proc/1/status")
    assert "Name:\tpostgres\n" in status
    assert "Uid:\t999\t999\t999\t999\nGid:\t999\t999\t999\t999\n" in status
    assert "CapEff:\t0000000000000000\n" in status
    assert sh(shop, f"stat -c '%a %u' {PGDATA}") == "700 999"
    assert "s3cret" not in sh(shop, "tr '\\0' '\\n' < /proc/1/environ", user="999")
    assert not any("s3cret" in item for item in shop.attrs["Config"]["Env"])


def test_password_counts_from_elsewhere(shop: Container) -> None:
    """Inside the container loopback is trusted; the added line asks everybody else, and says nothing of replication."""
    assert sh(shop, f"tail -n 1 {PGDATA}/pg_hba.conf") == "host all all all scram-sha-256"
    address = address_of(shop)
    assert sh(shop, f"PGPASSWORD=\"s3cret 'quoted'\" psql -h {address} -U owner -d shop -Atc 'SELECT 1'") == "1"
    assert shop.exec_run(["sh", "-c", f"PGPASSWORD=no psql -h {address} -U owner -d shop -c 'SELECT 1'"]).exit_code == 2
    refused = shop.exec_run(["sh", "-c", f"psql 'host={address} user=owner replication=1' -c IDENTIFY_SYSTEM"])
    assert b"no pg_hba.conf entry for replication connection" in refused.output


def test_socket(shop: Container) -> None:
    """Where the official image has it, without being told."""
    assert sh(shop, "stat -c %A /var/run/postgresql/.s.PGSQL.5432") == "srwxrwxrwx"


def test_second_start_skips_initialisation(shop: Container) -> None:
    """A clean, fast stop; then the data is there and no script runs again."""
    before = query(shop, "SELECT count(*) FROM steps")
    begun = time.monotonic()
    shop.stop(timeout=20)
    shop.reload()
    assert shop.attrs["State"]["ExitCode"] == 0
    assert time.monotonic() - begun < 10
    first = log(shop)
    assert "received fast shutdown request" in first
    assert "PostgreSQL init process complete; ready for start up." in first
    shop.start()
    started(shop)
    assert before == query(shop, "SELECT count(*) FROM steps")
    second = log(shop).removeprefix(first)
    assert "Skipping initialization" in second
    assert "running /docker" not in second


def test_a_failing_script_stops_the_start(postgres: Image, run: Run, tmp_path: Path) -> None:
    """Half an archive counts as failing, what comes after it does not run, and the volume stays half-initialised."""
    whole = gzip.compress(b"CREATE TABLE early ();\n" + b"-- padding\n" * 1000)
    tmp_path.chmod(0o755)
    (tmp_path / "1-half.sql.gz").write_bytes(whole[:-9])
    (tmp_path / "2-late.sql").write_text("CREATE TABLE late ();\n")
    container = run(
        postgres,
        environment={"POSTGRES_HOST_AUTH_METHOD": "trust", **QUICK},
        volumes=[f"{tmp_path}:/docker-entrypoint-initdb.d:ro"],
    )
    code, said = exited(container)
    assert code != 0
    assert "running /docker-entrypoint-initdb.d/1-half.sql.gz" in said
    assert "2-late.sql" not in said
    assert "ready for start up" not in said
    assert file_in(container, f"{PGDATA}/PG_VERSION") == "16\n"
    assert file_in(container, f"{PGDATA}/pg_hba.conf").endswith("\nhost all all all trust\n")
    assert "without a password" in said


def test_any_user(postgres: Image, run: Run) -> None:
    """A user without a name initialises and runs a server, on a read-only image and without any capability."""
    container = run(
        postgres,
        user="1234:1234",
        read_only=True,
        cap_drop=["ALL"],
        environment={"POSTGRES_PASSWORD": "x", "POSTGRES_USER": "me", **QUICK},
        tmpfs={PGDATA: "uid=1234,gid=1234,mode=0700", "/var/run/postgresql": "mode=1777"},
    )
    started(container)
    assert sh(container, f"stat -c '%u %g' {PGDATA}/PG_VERSION") == "1234 1234"
    assert query(container, "SELECT current_database()", user="me", database="me") == "me"
    assert not sh(container, "ls /dev/shm | grep -v PostgreSQL || :")
    assert "1234" not in sh(container, "cat /etc/passwd")


@pytest.fixture
def own_configuration(tmp_path: Path) -> list[str]:
    (tmp_path / "postgresql.conf").write_text("work_mem = 7MB\nport = 5433\n")
    (tmp_path / "pg_hba.conf").write_text("local all all scram-sha-256\nhost all all all scram-sha-256\n")
    (tmp_path / "initdb.d").mkdir()
    (tmp_path / "initdb.d/1.sql").write_text("CREATE TABLE made ();\n")
    targets = {"postgresql.conf": "/etc/postgresql/", "pg_hba.conf": "/etc/postgresql/"}
    mounts = [f"{tmp_path}/{name}:{target}{name}:ro" for name, target in targets.items()]
    return [*mounts, f"{tmp_path}/initdb.d:/docker-entrypoint-initdb.d:ro"]


def test_own_configuration(postgres: Image, run: Run, own_configuration: list[str]) -> None:
    """Arguments reach the temporary server too, whose own hba file may ask for the password on the socket."""
    container = run(
        postgres,
        [
            *("-c", "config_file=/etc/postgresql/postgresql.conf"),
            *("-c", "hba_file=/etc/postgresql/pg_hba.conf"),
            *("-c", "listen_addresses=*", "-c", "cluster_name=it's two words"),
        ],
        environment={"POSTGRES_PASSWORD": "pw", "POSTGRES_INITDB_WALDIR": "/var/lib/postgresql/wal", **QUICK},
        volumes=own_configuration,
        **LEAST,
    )
    started(container, port=5433)
    asked = "SELECT current_setting('work_mem'), current_setting('cluster_name'), to_regclass('made')"
    said = sh(container, f'PGPASSWORD=pw psql -p 5433 -U postgres -Atc "{asked}"')
    assert said == "7MB|it's two words|made"
    assert container.exec_run(["psql", "-w", "-p", "5433", "-U", "postgres", "-c", "SELECT 1"]).exit_code == 2
    assert sh(container, f"readlink {PGDATA}/pg_wal") == "/var/lib/postgresql/wal"
    assert sh(container, "stat -c '%a %u' /var/lib/postgresql/wal") == "700 999"


def pong(container: Container, *words: str) -> bool:
    output: bytes = container.exec_run(["redis-cli", *words, "ping"]).output
    return output == b"PONG\n"


def test_redis_image(redis: Image) -> None:
    """What a compose file may rely on without starting anything."""
    config = redis.attrs["Config"]
    assert (
        config["Volumes"],
        config["WorkingDir"],
        config["ExposedPorts"],
    ) == ({"/data": {}}, "/data", {"6379/tcp": {}})
    assert (config["Entrypoint"], config["Cmd"]) == (["docker-entrypoint.sh"], ["redis-server"])
    assert config["Labels"]["drydock.redis.version"].startswith("6.2")


def test_redis(redis: Image, run: Run) -> None:
    """Process 1 is redis-server as redis, the data folder its own, other containers are let in; SIGTERM ends it."""
    container = run(redis, **LEAST)
    until(lambda: pong(container), container)
    assert "Uid:\t999\t999\t999\t999\nGid:\t1000\t1000\t1000\t1000\n" in sh(container, "cat /proc/1/status")
    assert sh(container, "stat -c '%u %g' /data") == "999 1000"
    assert pong(container, "-h", address_of(container))
    container.stop(timeout=10)
    container.reload()
    assert container.attrs["State"]["ExitCode"] == 0


def test_redis_arguments(redis: Image, run: Run) -> None:
    """Arguments that begin with a dash are the server's."""
    container = run(redis, ["--port", "6380", "--protected-mode", "yes"])
    until(lambda: pong(container, "-p", "6380"), container)
    assert sh(container, "redis-cli -p 6380 config get protected-mode").endswith("yes")


@pytest.mark.parametrize(("said", "mode"), [("", "no"), ("protected-mode yes\n", "yes")], ids=["silent", "configured"])
def test_redis_configuration_file(redis: Image, run: Run, tmp_path: Path, said: str, mode: str) -> None:
    """A name that ends in .conf is the server's configuration; protected mode is off unless it says otherwise."""
    (tmp_path / "my.conf").write_text(f"maxmemory 7mb\n{said}")
    container = run(redis, ["/etc/my.conf"], volumes=[f"{tmp_path}/my.conf:/etc/my.conf:ro"])
    until(lambda: pong(container), container)
    assert sh(container, "redis-cli config get maxmemory").endswith("7340032")
    assert sh(container, "redis-cli config get protected-mode").endswith(mode)


def test_redis_configuration_from_standard_input(redis: Image, run: Run, tmp_path: Path) -> None:
    """compose.yaml's way: a secret that only root can open, a server that is not root, the health check's own line."""
    (tmp_path / "redis.conf").write_text("requirepass hidden\nappendonly yes\n")
    (tmp_path / "redis_password").write_text("hidden\n")
    for path in tmp_path.iterdir():
        path.chmod(0o600)
    command = ["sh", "-c", "exec docker-entrypoint.sh redis-server - < /run/secrets/redis.conf"]
    container = run(redis, command, volumes=[f"{tmp_path}:/run/secrets:ro"], **LEAST)
    until(lambda: b"NOAUTH" in container.exec_run(["redis-cli", "ping"]).output, container)
    sh(container, 'REDISCLI_AUTH="$(cat /run/secrets/redis_password)" redis-cli ping | grep -qx PONG')
    assert "Uid:\t999\t" in sh(container, "cat /proc/1/status")
    assert "hidden" not in sh(container, "tr '\\0' ' ' < /proc/1/cmdline")
    assert sh(container, "stat -c '%a %u' /data/appendonly.aof") == "600 999"


def test_redis_takes_its_data_folder_over(redis: Image, run: Run) -> None:
    """Files of another user, from a restored volume for example, become redis's; a link's target does not."""
    spoil = "echo x > /data/file; ln -s /etc/passwd /data/link; exec docker-entrypoint.sh redis-server --save ''"
    container = run(redis, ["sh", "-c", spoil])
    until(lambda: pong(container), container)
    assert " ".join(sh(container, "stat -c %u /data/file /data/link /etc/passwd").split()) == "999 999 0"


def test_redis_other_commands(redis: Image, run: Run) -> None:
    """Run as they are, as root."""
    assert exited(run(redis, ["id", "-u"])) == (0, "0\n")
    assert exited(run(redis, ["redis-server", "--version"]))[1].startswith("Redis server v=6.2")


def test_redis_as_any_user(redis: Image, run: Run) -> None:
    """Nothing has to change hands."""
    container = run(redis, user="1234:1234", tmpfs={"/data": "uid=1234"}, read_only=True, cap_drop=["ALL"])
    until(lambda: pong(container), container)
    assert "Uid:\t1234\t" in sh(container, "cat /proc/1/status")
