"""The containers themselves: healthy and staying so, closed to the outside, free of secrets, honest about trouble."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from typing import TYPE_CHECKING, Any

import docker
import pytest

from drydock.settings import read_dotenv

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.checkout import Checkout as Folder

from tests.checkout import Checkout

pytestmark = pytest.mark.docker
SERVICES = ("postgres", "redis")


@pytest.fixture(scope="module")
def client(docker_engine: str) -> Iterator[docker.DockerClient]:
    assert docker_engine
    found = docker.from_env()
    yield found
    found.close()


@pytest.fixture(scope="module")
def shop(docker_engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Folder]:
    """One checkout on Docker for the whole module; its health is asked for every second, for events that come soon."""
    checkout = Checkout(tmp_path_factory.mktemp("readiness") / "shop", ENGINE=docker_engine)
    declaration = checkout.root / "compose" / "compose.yaml"
    declared = declaration.read_text()
    assert declared.count("interval: ${DRYDOCK_HEALTH_INTERVAL}") == len(SERVICES)
    declaration.write_text(declared.replace("${DRYDOCK_HEALTH_INTERVAL}", "1s"))
    checkout.run("up")
    yield checkout
    checkout.remove()


@pytest.fixture
def container(client: docker.DockerClient, shop: Folder) -> Callable[[str], Any]:
    """A service's container, freshly looked at."""

    def look(service: str) -> Any:
        labels = [f"io.drydock.checkout={shop.environment.state.checkout}", f"com.docker.compose.service={service}"]
        return client.containers.list(all=True, filters={"label": labels})[0]

    return look


def health_events(client: docker.DockerClient, container: Any, wanted: str, act: Callable[[], object]) -> None:
    """Do something to a container and wait for Docker to say that its health became what is wanted."""
    events = client.events(decode=True, filters={"container": container.id, "event": "health_status"})
    timer = threading.Timer(60, events.close)
    timer.start()
    try:
        act()
        container.reload()
        if container.health == wanted:
            return
        assert any(wanted == event["status"].split(": ")[-1] for event in events), f"never became {wanted}"
    finally:
        timer.cancel()
        events.close()


def servers(container: Any) -> list[tuple[str, str]]:
    """Process and user ids of a container's server, without what a health check runs meanwhile."""
    rows = container.top(ps_args="-eo pid,uid,comm")["Processes"]
    return [(pid, user) for pid, user, program in rows if program.startswith(("postgres", "redis-server"))]


@pytest.mark.parametrize("service", SERVICES)
def test_becomes_healthy_and_stays_so(
    client: docker.DockerClient, container: Callable[[str], Any], service: str
) -> None:
    """Docker's own health check passes, and none of its last probes failed."""
    health_events(client, container(service), "healthy", lambda: None)
    attributes = container(service).attrs
    assert attributes["State"]["Health"]["FailingStreak"] == 0
    assert attributes["RestartCount"] == 0


def test_health_follows_paused_servers(
    client: docker.DockerClient, container: Callable[[str], Any], shop: Folder
) -> None:
    """Stopped processes turn both healths to unhealthy and status to a failure; going on heals them."""
    processes = [pid for service in SERVICES for pid, _ in servers(container(service))]
    try:
        # One that has ended meanwhile, as a health check's, is no matter.
        subprocess.run(["kill", "-STOP", *processes], check=False)
        failed = {check["name"] for check in shop.json("status", code=5)["checks"] if check["status"] == "fail"}
        assert failed == {"postgres:query", "redis:ping"}
        for service in SERVICES:
            health_events(client, container(service), "unhealthy", lambda: None)
        assert "unhealthy" in shop.run("doctor", code=1).stdout
    finally:
        subprocess.run(["kill", "-CONT", *processes], check=False)
    for service in SERVICES:
        health_events(client, container(service), "healthy", lambda: None)
    assert shop.json("status")["status"] == "pass"


@pytest.mark.parametrize("service", SERVICES)
def test_a_killed_server_is_started_again(
    client: docker.DockerClient, container: Callable[[str], Any], shop: Folder, service: str
) -> None:
    """The restart policy brings a killed server back; up waits until it is usable and data is there."""
    shop.query("UPDATE organizations SET name = 'Kept' WHERE slug = 'acme'")
    shop.redis("SET", "kept", "yes")
    pid = str(container(service).attrs["State"]["Pid"])
    events = client.events(decode=True, filters={"container": container(service).id, "event": "start"})
    subprocess.run(["kill", "-9", pid], check=True)
    next(iter(events))
    events.close()
    shop.run("up")
    assert shop.query("SELECT name FROM organizations WHERE slug = 'acme'") == [("Kept",)]
    assert container(service).attrs["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped"


def test_no_connection_is_refused_after_ready(docker_engine: str, make_checkout: Callable[..., Folder]) -> None:
    """An initialisation script of three seconds: once up says ready, a hundred connections in a row succeed."""
    checkout = make_checkout(ENGINE=docker_engine)
    script = checkout.root / "compose" / "postgres" / "initdb.d" / "slow.sql"
    script.write_text("SELECT pg_sleep(3);\n")
    begun = time.monotonic()
    checkout.run("up")
    assert time.monotonic() - begun > 3
    assert all(checkout.query("SELECT 1", role="app") == [(1,)] for _ in range(100))


def test_redis_that_is_loading_is_not_ready(shop: Folder, container: Callable[[str], Any]) -> None:
    """While Redis reads its data back, the ping check fails and says why; afterwards it passes."""
    from drydock import readiness

    environment = shop.environment
    shop.redis("EVAL", "for i = 1, 200000 do redis.call('SET', 'key' .. i, i) end", "0")
    container("redis").stop()
    container("redis").start()
    seen = set()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        check = readiness.redis_ready(environment)
        seen.add("ready" if check.passed else check.detail)
        if check.passed:
            break
    shop.redis("FLUSHALL")
    assert "ready" in seen
    assert any("LOADING" in detail for detail in seen), seen


def test_ports_are_on_loopback_only(container: Callable[[str], Any]) -> None:
    """Docker publishes nothing on any other address."""
    for service in SERVICES:
        bindings = [b for found in container(service).attrs["NetworkSettings"]["Ports"].values() for b in found or ()]
        assert {binding["HostIp"] for binding in bindings} == {"127.0.0.1"}


def test_versions_and_extension(shop: Folder) -> None:
    """Postgres is 16, vector is installed and computes, Redis speaks."""
    assert shop.query("SELECT current_setting('server_version_num')::int / 10000") == [(16,)]
    assert shop.query("SELECT '[1,2,3]'::vector <-> '[1,2,4]'::vector") == [(1.0,)]
    assert shop.redis("INFO", "server").splitlines()[1].startswith("redis_version:")


def test_secrets_are_nowhere_to_be_read(shop: Folder, container: Callable[[str], Any]) -> None:
    """No password in what docker inspect shows, in process arguments, in the containers' logs or in drydock's state."""
    passwords = [v for k, v in read_dotenv(shop.root / ".env").items() if k.endswith("PASSWORD")]
    assert len(passwords) == 6
    places = {
        "arguments": subprocess.run(["ps", "-eo", "args", "ww"], capture_output=True, text=True, check=True).stdout,
        "state": (shop.root / ".drydock" / "state.json").read_text(),
        "status": shop.run("status").stdout + shop.run("doctor", code=None).stdout,
    }
    for service in SERVICES:
        places[f"inspect {service}"] = str(container(service).attrs)
        places[f"logs {service}"] = container(service).logs().decode()
    assert [place for place, text in places.items() for password in passwords if password in text] == []
    for path in (shop.root / ".drydock" / "secrets").iterdir():
        assert path.stat().st_mode & 0o077 == 0


def test_containers_are_confined(container: Callable[[str], Any]) -> None:
    """No new privileges, few capabilities, limits on memory and processes, rotated logs, time to shut down."""
    for service, capabilities in {"postgres": 6, "redis": 5}.items():
        attributes = container(service).attrs
        host = attributes["HostConfig"]
        assert "no-new-privileges:true" in host["SecurityOpt"]
        assert (host["CapDrop"], len(host["CapAdd"])) == (["ALL"], capabilities)
        assert host["Memory"] > 0
        assert host["PidsLimit"] > 0
        assert host["LogConfig"]["Config"] == {"max-file": "3", "max-size": "10m"}
        assert attributes["Config"]["StopTimeout"] >= 30
    assert container("postgres").attrs["HostConfig"]["ShmSize"] == 1 << 30


def test_servers_do_not_run_as_root(container: Callable[[str], Any]) -> None:
    """Both servers are uid 999 inside; a health check that happens to run meanwhile is root's."""
    for service in SERVICES:
        assert {user for _, user in servers(container(service))} == {"999"}


def test_a_kill_ends_all_processes_of_postgres_at_once(container: Callable[[str], Any]) -> None:
    """An init comes first: the postmaster's death would end its WAL sender before the sessions that still commit."""
    code, first = container("postgres").exec_run(["cat", "/proc/1/comm"])
    assert (code, first.strip() in {b"docker-init", b"tini"}) == (0, True), first


def test_data_is_in_named_volumes(shop: Folder, container: Callable[[str], Any]) -> None:
    """PGDATA and Redis' data are volumes of this checkout; the Postgres major is in the name."""
    state = shop.environment.state
    mounts = {s: {m["Name"] for m in container(s).attrs["Mounts"] if m["Type"] == "volume"} for s in SERVICES}
    assert mounts == {"postgres": {f"{state.name}-postgres-16-1"}, "redis": {f"{state.name}-redis"}}


def test_a_container_that_exits_ends_the_wait_at_once(docker_engine: str, make_checkout: Callable[..., Folder]) -> None:
    """A server that cannot start: its last words and the next command come long before the timeout."""
    checkout = make_checkout(ENGINE=docker_engine)
    with (checkout.root / "compose" / "postgres" / "postgresql.conf").open("a") as stream:
        stream.write("shared_buffers = lots\n")
    begun = time.monotonic()
    error = checkout.run("up", code=5).stderr
    assert time.monotonic() - begun < 30
    assert "shared_buffers" in error
    assert "invoke logs --service postgres" in error


def test_an_interrupted_initialisation_starts_afresh(docker_engine: str, make_checkout: Callable[..., Folder]) -> None:
    """Containers killed while the volume was being initialised: the next up does it again, whole."""
    checkout = make_checkout(ENGINE=docker_engine)
    scripts = checkout.root / "compose" / "postgres" / "initdb.d"
    (scripts / "10.sql").write_text("CREATE TABLE first (); SELECT pg_sleep(20);\n")
    (scripts / "20.sql").write_text("CREATE TABLE second ();\n")
    process = checkout.start("up")
    found = docker.from_env()
    deadline = time.monotonic() + 60
    log = b""
    while b"10.sql" not in log and time.monotonic() < deadline:
        state = checkout.root / ".drydock" / "state.json"
        identity = state.read_text().split('"checkout": "')[1][:8] if state.exists() else "none"
        labels = [f"io.drydock.checkout={identity}", "com.docker.compose.service=postgres"]
        log = b"".join(container.logs() for container in found.containers.list(filters={"label": labels}))
    process.kill()
    process.communicate()
    for container in found.containers.list(filters={"label": f"io.drydock.checkout={identity}"}):
        container.kill()
    found.close()
    (scripts / "10.sql").write_text("CREATE TABLE first ();\n")
    assert "interrupted" in checkout.run("up").stderr
    tables = "SELECT to_regclass('first') IS NOT NULL, to_regclass('second') IS NOT NULL"
    assert checkout.query(tables, role="superuser", database="postgres") == [(True, True)]


def test_a_volume_of_another_major_is_refused(
    client: docker.DockerClient, docker_engine: str, make_checkout: Callable[..., Folder]
) -> None:
    """Data of Postgres 15 under our name: up names both majors before it starts anything."""
    checkout = make_checkout(ENGINE=docker_engine)
    checkout.run("up")
    environment = checkout.environment
    image = environment.state.images["postgres"]
    checkout.run("down")
    volume = f"{environment.state.name}-postgres-16-1"
    script = "echo 15 > /var/lib/postgresql/data/PG_VERSION"
    mount = {volume: {"bind": "/var/lib/postgresql/data", "mode": "rw"}}
    client.containers.run(image, ["-c", script], entrypoint="sh", volumes=mount, remove=True)
    error = checkout.run("up", code=4).stderr
    assert "holds data of Postgres 15; this drydock runs 16" in error


def test_the_port_of_a_container_is_named(
    docker_engine: str, shop: Folder, make_checkout: Callable[..., Folder]
) -> None:
    """A port that another container publishes is reported with that container's name and how to stop it."""
    port = shop.environment.state.postgres_port
    other = make_checkout(ENGINE=docker_engine)
    error = other.run("up", code=4, POSTGRES_PORT=str(port)).stderr
    assert f"Port {port} for postgres is taken by container {shop.environment.state.name}" in error
    assert "docker stop" in error
    with socket.create_connection(("127.0.0.1", port), timeout=2):
        pass
