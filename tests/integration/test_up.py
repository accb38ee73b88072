from __future__ import annotations

import json
import shlex
import shutil
import socket
from dataclasses import replace
from typing import TYPE_CHECKING

import psycopg
import pytest

from drydock import ports, postgres
from drydock.errors import NotReadyError
from drydock.settings import read_dotenv
from tests.checkout import ROOT, Checkout

if TYPE_CHECKING:
    from collections.abc import Callable

CHECKS = ("postgres:tcp", "postgres:query", "postgres:vector", "schema:head", "seeds:loaded", "redis:ping")


def test_first_up_does_the_whole_job(checkout: Checkout) -> None:
    """From nothing to ready, migrated and seeded; engine and reason, phases and URLs are told, passwords are not."""
    result = checkout.run("up")
    passwords = [v for k, v in read_dotenv(checkout.root / ".env").items() if k.endswith("PASSWORD")]
    assert "wrote .env with random passwords" in result.stderr
    assert f"engine: {checkout.environ['ENGINE']}, because" in result.stderr
    assert all(phase in result.stderr for phase in ("start", "wait until usable", "migrate", "seed"))
    assert "postgresql://app@127.0.0.1:" in result.stdout
    assert not [password for password in passwords if password in result.stdout + result.stderr]
    assert checkout.query("SELECT count(*) FROM messages") == [(1194,)]
    assert dict.fromkeys(CHECKS, "pass") == {c["name"]: c["status"] for c in checkout.json("status")["checks"]}


def test_second_up_changes_nothing_and_says_so(ready: Checkout) -> None:
    """The servers keep running as they are, and no phase is run."""
    before = ready.query("SELECT pg_postmaster_start_time()")
    result = ready.run("up")
    assert "nothing to do" in result.stdout
    assert result.stderr == ""
    assert ready.json("up")["changed"] is False
    assert before == ready.query("SELECT pg_postmaster_start_time()")


def test_data_stays_across_down_and_up(checkout: Checkout) -> None:
    """Down stops both servers and keeps every row and key; up brings them back without seeding again."""
    checkout.run("up")
    checkout.query("UPDATE organizations SET name = 'Changed' WHERE slug = 'acme'")
    checkout.redis("SET", "kept", "yes")
    assert checkout.json("down") == {"stopped": True}
    for port in (checkout.environment.state.postgres_port, checkout.environment.state.redis_port):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=2)
    assert checkout.json("down") == {"stopped": False}
    assert checkout.json("up")["seeded"] == {}
    assert checkout.query("SELECT name FROM organizations WHERE slug = 'acme'") == [("Changed",)]
    assert checkout.redis("GET", "kept") == "yes"


def test_a_database_that_no_archive_has_is_created_anew_and_told(scratch: Checkout) -> None:
    """Without an archive there is nothing to bring it back from."""
    scratch.query("DROP DATABASE app WITH (FORCE)", database="postgres")
    assert "the database app was gone: created anew" in scratch.run("up").stderr
    assert scratch.query("SELECT count(*) FROM messages") == [(1194,)]


def test_env_gives_urls_that_connect(ready: Checkout) -> None:
    """What `invoke env` prints is what a shell can evaluate, and the URLs work."""
    lines = ready.run("env").stdout.splitlines()
    exported = dict(part.split("=", 1) for line in lines for part in shlex.split(line)[1:])
    assert exported == ready.json("env")
    for name, user in (("DATABASE_URL", "app"), ("DATABASE_OWNER_URL", "app_owner")):
        with psycopg.connect(exported[name]) as connection:
            assert connection.execute("SELECT current_user, current_database()").fetchone() == (user, "app")


def test_the_application_role_only_reads_and_writes_rows(ready: Checkout) -> None:
    """It cannot change the schema, empty a table past its rules, or connect elsewhere."""
    for statement in ("CREATE TABLE intruder ()", "TRUNCATE messages", "DROP TABLE users", "CREATE DATABASE mine"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            ready.query(statement, role="app")
    assert ready.query("SELECT rolsuper, rolbypassrls FROM pg_roles WHERE rolname = 'app'") == [(False, False)]


def test_every_door_asks_for_a_password(ready: Checkout) -> None:
    """No host entry, replication included, lets anybody in without scram."""
    methods = {row[0] for row in ready.query("SELECT auth_method FROM pg_hba_file_rules", role="superuser")}
    assert methods == {"scram-sha-256"}
    environment = ready.environment
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(host="127.0.0.1", port=environment.state.postgres_port, user="postgres", dbname="app")


def test_only_loopback_is_listened_on(ready: Checkout) -> None:
    """The ports are closed on every other address of the machine."""
    import psutil

    addresses = {a.address for found in psutil.net_if_addrs().values() for a in found if a.family == socket.AF_INET}
    for address in addresses - {"127.0.0.1"}:
        for port in (ready.environment.state.postgres_port, ready.environment.state.redis_port):
            with pytest.raises(OSError):  # noqa: PT011 - refused or unreachable, as the platform has it
                socket.create_connection((address, port), timeout=1)


def test_clients_of_the_servers(ready: Checkout) -> None:
    """Psql and redis-cli run one command and hand its exit code on."""
    assert ready.run("psql", "-c", "SELECT current_user", "--args", "-tA").stdout.strip() == "app"
    assert ready.run("redis-cli", "-c", "PING").stdout.strip() == "PONG"
    assert "does not exist" in ready.run("psql", "-c", "SELECT * FROM nowhere", code=1).stderr


def test_psql_as_another_role(ready: Checkout) -> None:
    """What row-level security hides from the application the backup role reads, and changes nothing; owners own."""
    count = ("--", "-tAc", "SELECT count(*) FROM messages")
    assert ready.run("psql", *count).stdout.strip() == "0"
    assert int(ready.run("psql", "--role", "backup", *count).stdout) > 0
    assert "permission denied" in ready.run("psql", "--role", "backup", "-c", "DELETE FROM messages", code=1).stderr
    for role, name in (("owner", "app_owner"), ("superuser", "postgres")):
        assert ready.run("psql", "--role", role, "--", "-tAc", "SELECT current_user").stdout.strip() == name
    assert "no role 'root': app, owner, backup, superuser" in ready.run("psql", "--role", "root", code=2).stderr


def test_words_for_the_servers_clients(ready: Checkout) -> None:
    """What follows -- is theirs, word by word; a task that starts no client refuses it instead of leaving it out."""
    assert ready.run("psql", "--", "-tAc", "SELECT 'two  blanks'").stdout.strip() == "two  blanks"
    assert ready.run("redis-cli", "--", "ECHO", "two  blanks").stdout.strip() == "two  blanks"
    assert "takes nothing after --: --json" in ready.run("status", "--", "--json", code=2).stderr


def test_logs_of_both_servers(ready: Checkout) -> None:
    """Each server's last lines are shown with its name, or as JSON; one server's where it is named."""
    assert {"postgres", "redis"} == {line.split(" |")[0] for line in ready.run("logs").stdout.splitlines()}
    found = ready.json("logs", "--service", "postgres", "--lines", "5")
    assert 1 <= len(found["postgres"]) <= 5
    assert ready.json("logs", "postgres", "--lines", "5").keys() == {"postgres"}
    assert "'-3' is not a whole number" in ready.run("logs", "--lines", "-3", code=2).stderr
    assert "no service 'mysql'" in ready.run("logs", "--service", "mysql", code=2).stderr


def test_doctor_finds_nothing(ready: Checkout) -> None:
    """On a healthy environment no check fails, and there is one for each question."""
    document = ready.json("doctor")
    assert document["status"] != "fail"
    names = {check["name"] for check in document["checks"]}
    assert {"settings:values", "files:.env", "disk:free", "clock:skew", "schema:heads", "schema:drift"} <= names


def test_two_checkouts_do_not_collide(engine_name: str, make_checkout: Callable[..., Checkout]) -> None:
    """Two folders of the same name run side by side, each with its own data."""
    one, two = (make_checkout(f"{folder}/shop", ENGINE=engine_name) for folder in ("one", "two"))
    one.run("up")
    two.run("up")
    one.query("DELETE FROM messages")
    assert (one.query("SELECT count(*) FROM messages"), two.query("SELECT count(*) FROM messages")) == (
        [(0,)],
        [(1194,)],
    )
    assert one.environment.state.name != two.environment.state.name
    two.run("destroy", "--yes")
    assert one.query("SELECT count(*) FROM messages") == [(0,)]


def test_a_copied_checkout_leaves_the_original_alone(ready: Checkout, make_checkout: Callable[..., Checkout]) -> None:
    """Cp -r of a running checkout: tasks refuse to touch the other's servers, and up gives it its own."""
    copy = make_checkout("copy", ENGINE=ready.environ["ENGINE"])
    for name in (".drydock", ".env"):
        target = copy.root / name
        if (ready.root / name).is_dir():
            shutil.copytree(ready.root / name, target, ignore=shutil.ignore_patterns("volumes"))
        else:
            shutil.copy2(ready.root / name, target)
    for task in (["reset"], ["down"], ["destroy", "--yes"]):
        assert "copy of" in copy.run(*task, code=1).stderr
    assert "is a copy of" in copy.run("up").stderr
    assert copy.environment.state.checkout != ready.environment.state.checkout


@pytest.mark.parametrize("folder", ["with space", "it's “quoted” $HOME"])
def test_awkward_folder_names(engine_name: str, make_checkout: Callable[..., Checkout], folder: str) -> None:
    """Spaces, quotes and dollar signs in the path are just characters."""
    checkout = make_checkout(folder, ENGINE=engine_name)
    checkout.run("up")
    assert checkout.json("status")["status"] == "pass"


def test_initialisation_scripts_run_once(checkout: Checkout) -> None:
    """What lies in compose/postgres/initdb.d runs on the first start, in name order."""
    scripts = checkout.root / "compose" / "postgres" / "initdb.d"
    (scripts / "10-first.sql").write_text("CREATE TABLE made_by_init (n int);\n")
    (scripts / "20-second.sql").write_text("INSERT INTO made_by_init VALUES (1);\n")
    checkout.run("up")
    checkout.run("down")
    checkout.run("up")
    assert checkout.query("SELECT n FROM made_by_init", role="superuser", database="postgres") == [(1,)]


def test_destroy_removes_this_checkouts_data_only_after_confirmation(checkout: Checkout) -> None:
    """Without --yes or the typed name nothing happens; with it the volumes go, and the next up starts afresh."""
    checkout.run("up")
    checkout.query("DELETE FROM messages")
    assert "Nothing was done" in checkout.run("destroy", code=3).stderr
    assert checkout.query("SELECT count(*) FROM messages") == [(0,)]
    removed = checkout.json("destroy", "--yes")["removed"]
    assert len(removed) >= 2
    assert "no environment yet" in checkout.run("status", code=1).stderr
    checkout.run("up")
    assert checkout.query("SELECT count(*) FROM messages") == [(1194,)]


def test_no_down_task_can_remove_data() -> None:
    """Down has no flag that removes anything."""
    text = (ROOT / "src" / "drydock" / "tasks" / "environment.py").read_text()
    signature = text[text.index("def down(") : text.index(")", text.index("def down("))]
    assert signature == "def down(console: Console, json: bool = False"


def test_production_refuses_every_destructive_task(ready: Checkout) -> None:
    """APP_ENV=production: reset, undo, seed, migrate.down, destroy and the like decline before they start."""
    tasks = (["reset"], ["reset.undo"], ["seed"], ["migrate.down", "--yes"], ["destroy", "--yes"], ["migrate.push"])
    for task in (*tasks, ["undo"], ["redo"], ["prune"], ["branch.drop", "past", "--yes"]):
        assert "APP_ENV is production" in ready.run(*task, code=3, APP_ENV="production").stderr
    assert ready.json("status", APP_ENV="production")["status"] == "pass"


def test_json_errors_are_documents(checkout: Checkout) -> None:
    """With --json an error is a document too, and the exit code the same."""
    document = json.loads(checkout.run("status", "--json", code=1).stdout)
    assert document["hint"] == "invoke up"


def test_why_postgres_does_not_answer(scratch: Checkout) -> None:
    """The sentence has the reason, not what libpq asks or tells beside."""
    environment = scratch.environment
    with pytest.raises(
        NotReadyError, match=r"^Postgres does not answer on port \d+: FATAL:  database \"x\" does not exist\.$"
    ):
        postgres.connect(environment, environment.app, "x")
    environment.state = replace(environment.state, postgres_port=ports.pick("nobody listens"))
    with pytest.raises(NotReadyError, match=r"^Postgres does not answer on port \d+: Connection refused\.$"):
        postgres.connect(environment, environment.app)
