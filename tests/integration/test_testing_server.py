"""The throwaway server behind drydock.testing: whose it is, when it ends, and who gets none."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from drydock import postgres
from drydock.engine.process_table import inside
from drydock.errors import DrydockError
from drydock.settings import load
from drydock.state import StateFile, create
from drydock.throwaway import identity
from drydock.throwaway.clones import Clones
from drydock.throwaway.dressing import Dressing
from drydock.throwaway.server import open_server, stop_all
from tests.integration.test_adoption import MIGRATION
from tests.testing_project import PLUGIN, connect_as_told, query, run, run_apart
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from drydock.environment import Environment
    from tests.checkout import Checkout

USE = "def test_use(postgres): postgres.connect().close()"
DURABILITY = ("fsync", "synchronous_commit", "full_page_writes", "wal_level")


@pytest.fixture(scope="module")
def parcels(embedded_engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Another project: Alembic's own template, an env.py that asks DATABASE_URL, one migration."""
    root = tmp_path_factory.mktemp(embedded_engine) / "parcels service"
    root.mkdir()
    subprocess.run([sys.executable, "-m", "alembic", "init", "db"], cwd=root, check=True, capture_output=True)
    environment = root / "db" / "env.py"
    asking = 'import os\nconfig = context.config\nconfig.set_main_option("sqlalchemy.url", os.environ["DATABASE_URL"])'
    environment.write_text(environment.read_text().replace("config = context.config", asking))
    (root / "db" / "versions" / "0001_parcels.py").write_text(MIGRATION)
    yield root
    stop_all(root)


@pytest.fixture
def stopped(parcels: Path) -> Path:
    """The same with no server."""
    stop_all(parcels)
    return parcels


def test_another_project_needs_one_line(pytester: pytest.Pytester, parcels: Path) -> None:
    """With drydock installed and the plugin named, a test of another Alembic project has its tables."""
    assert len(PLUGIN.splitlines()) == 1
    code = """
        def test_parcels(postgres, monkeypatch):
            for name, value in postgres.variables.items():
                monkeypatch.setenv(name, value)
            with postgres.connect() as connection:
                connection.execute("INSERT INTO parcels (label) VALUES ('first')")
                assert connection.execute("SELECT label FROM parcels").fetchall() == [("first",)]
    """
    run(pytester, parcels, code).assert_outcomes(passed=1)


def test_the_server_is_not_durable_and_loopback_only(parcels: Path) -> None:
    """What costs time and protects only data that nobody keeps is off."""
    with contextlib.closing(open_server(parcels)) as opened:
        (found,) = query(opened.environment, f"SELECT {', '.join(f'current_setting({n!r})' for n in DURABILITY)}")
        assert found == ("off", "off", "off", "minimal")
        assert query(opened.environment, "SHOW listen_addresses") == [("127.0.0.1",)]


def test_a_server_that_is_the_developers_own_is_refused(pytester: pytest.Pytester, parcels: Path) -> None:
    """Equal system identifiers stop the run before anything is changed."""
    with contextlib.closing(open_server(parcels)) as opened:
        identifier = opened.environment.state.system_identifier
    own = StateFile(parcels / ".drydock")
    own.write(replace(create(parcels, "parcels"), system_identifier=identifier))
    try:
        result = run(pytester, parcels, USE)
    finally:
        own.path.unlink()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*is this checkout's own Postgres.*"])


def test_production_gets_no_server(pytester: pytest.Pytester, stopped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """APP_ENV=production is refused before a server starts."""
    monkeypatch.setenv("APP_ENV", "production")
    result = run(pytester, stopped, USE)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*APP_ENV is production.*"])
    assert not (stopped / ".drydock" / "test-embedded").exists()


def test_a_cold_run_ends_with_nothing_running(pytester: pytest.Pytester, stopped: Path) -> None:
    """With drydock_idle=0 the last process stops the server and removes its data."""
    code = "def test_use(postgres): assert postgres.environment.settings.folder.exists()"
    run(pytester, stopped, code, "-o", "drydock_idle=0").assert_outcomes(passed=1)
    assert not (stopped / ".drydock" / "test-embedded").exists()


def test_a_cold_run_that_fails_leaves_nothing_either(pytester: pytest.Pytester, stopped: Path) -> None:
    """No database of a failed test holds the server back, nor is one promised."""
    result = run(pytester, stopped, "def test_use(postgres): assert not postgres.name", "-o", "drydock_idle=0")
    result.assert_outcomes(failed=1)
    result.stdout.no_fnmatch_line("*database kept by drydock*")
    assert not (stopped / ".drydock" / "test-embedded").exists()


def test_the_server_of_a_killed_run_ends_by_itself(pytester: pytest.Pytester, stopped: Path) -> None:
    """Its keeper notices the end of the last user, also by SIGKILL."""
    code = "import os, signal\n\ndef test_killed(postgres): os.kill(os.getpid(), signal.SIGKILL)"
    run_apart(pytester, stopped, code, "-o", "drydock_idle=0")
    eventually(lambda: not (stopped / ".drydock" / "test-embedded").exists(), "gone")


def test_a_migration_that_fails_is_named(pytester: pytest.Pytester, parcels: Path) -> None:
    """The error is the migration's sentence, and the next run with a correct one goes on."""
    broken = parcels / "db" / "versions" / "0002_broken.py"
    broken.write_text(MIGRATION.replace('"0001"', '"0002"').replace("= None", '= "0001"'))
    result = run(pytester, parcels, USE)
    broken.unlink()
    result.assert_outcomes(errors=1)
    assert "During handling" not in result.stdout.str()
    result.stdout.fnmatch_lines(['*Migration 0002 (Parcels.) failed: relation "parcels" already exists.*'])
    run(pytester, parcels, USE).assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("option", "code", "words"),
    [
        ("drydock_idle=soon", USE, "*drydock_idle: 'soon' is not a number of seconds*"),
        ("drydock_engine=vm", USE, "*drydock_engine: 'vm' is not one of auto, embedded, docker*"),
        ("drydock_keep=some", USE, "*drydock_keep: 'some' is not one of never, failed, all*"),
        (
            "drydock_keep=never",
            f"import pytest\n\n@pytest.mark.drydock_seed('huge')\n{USE}",
            "*drydock_seed takes one of small, medium, large, not 'huge'*",
        ),
    ],
)
def test_wrong_options_are_named(pytester: pytest.Pytester, parcels: Path, option: str, code: str, words: str) -> None:
    """What an option may be is said where it is something else."""
    result = run(pytester, parcels, code, "-o", option)
    assert result.ret != 0
    pytest.LineMatcher([*result.outlines, *result.errlines]).fnmatch_lines([words])


@pytest.mark.parametrize("data", ["auto", "disk"])
def test_a_copied_checkout_gets_its_own_server(parcels: Path, tmp_path: Path, data: str) -> None:
    """What came along of the original's is not used; the copy's server ends when the copy is removed."""
    with contextlib.closing(open_server(parcels)) as original:
        copy = tmp_path / "copy"
        shutil.copytree(parcels, copy, symlinks=True)
        with contextlib.closing(open_server(copy, data=data)) as other:
            mine, theirs = other.environment.state, original.environment.state
            assert mine.system_identifier != theirs.system_identifier
            assert mine.postgres_port != theirs.postgres_port
            volumes = (copy / ".drydock" / "test-embedded" / "volumes").resolve()
            assert inside(volumes)
        shutil.rmtree(copy)
        eventually(lambda: not (inside(volumes) or volumes.exists()), "gone with its checkout")
        assert query(original.environment, "SELECT 1") == [(1,)]


@pytest.fixture
def environment(parcels: Path) -> Iterator[Environment]:
    """A server to work on directly."""
    with contextlib.closing(open_server(parcels)) as opened:
        yield opened.environment


def test_a_clone_has_the_rights_and_settings_of_its_template(environment: Environment) -> None:
    """Grants on the database, ALTER DATABASE SET and ALTER ROLE IN DATABASE SET come along."""
    described = """
        SELECT (SELECT array_agg(a::text ORDER BY a::text) FROM aclexplode(d.datacl) a),
               (SELECT array_agg(s.setrole::regrole || ' ' || s.setconfig::text ORDER BY s.setrole)
                FROM pg_db_role_setting s WHERE s.setdatabase = d.oid)
        FROM pg_database d WHERE d.datname = '{}'
    """
    with contextlib.closing(Clones(environment)) as made, postgres.administer(environment) as connection:
        for statement in (
            "CREATE DATABASE dressed OWNER app_owner",
            "REVOKE TEMPORARY ON DATABASE dressed FROM PUBLIC",
            "GRANT CREATE ON DATABASE dressed TO app WITH GRANT OPTION",
            'ALTER DATABASE dressed SET search_path TO "$user", public, "odd one"',
            "ALTER DATABASE dressed SET shop.greeting TO 'it''s'",
            "ALTER ROLE app IN DATABASE dressed SET work_mem TO '8MB'",
            "ALTER DATABASE dressed ALLOW_CONNECTIONS false",
        ):
            connection.execute(statement.encode())
        assert len(Dressing(connection, "dressed").statements("x")) >= 6
        name = made.take("dressed")
        assert query(environment, described.format(name)) == query(environment, described.format("dressed"))
        assert "greeting" in str(query(environment, described.format(name)))
    assert query(environment, f"SELECT FROM pg_database WHERE datname = '{name}'") == []


def test_what_the_server_refuses_is_said(environment: Environment) -> None:
    """A clone of a template that does not exist is a sentence, and the next one is made."""
    with contextlib.closing(Clones(environment)) as made:
        with pytest.raises(DrydockError, match="Could not clone missing: template database"):
            made.take("missing")
        assert made.take("template1").startswith("test_")


@pytest.mark.docker
def test_the_docker_engine_serves_as_well(pytester: pytest.Pytester, docker_engine: str, scratch: Checkout) -> None:
    """Containers in memory: clones, Redis, a kept database and the command that connects to it."""
    code = """
        def test_fails(postgres, redis_namespace):
            with postgres.connect() as connection:
                assert connection.execute("SHOW fsync").fetchone() == ("on",)
    """
    result = run(pytester, scratch.root, code, "-o", f"drydock_engine={docker_engine}")
    result.assert_outcomes(failed=1)
    assert identity.recorded(identity.settings_for(load(scratch.root), "docker"))
    try:
        assert connect_as_told(result, "SELECT 'here'") == "here"
    finally:
        stop_all(scratch.root)
