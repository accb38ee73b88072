"""What each role of the database may do with the rows of tenants."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import errors
from psycopg.conninfo import make_conninfo

from app.seeds import TABLES, seed

if TYPE_CHECKING:
    from drydock.environment import Environment
    from tests.app.conftest import AppDatabase
    from tests.checkout import Checkout


@pytest.fixture
def seeded(app_database: AppDatabase) -> AppDatabase:
    """The small seed, written by the owner as `invoke seed` does."""
    with psycopg.connect(app_database.owner_url) as connection:
        assert seed(connection) == {table.name: table.count("small") for table in TABLES}
    return app_database


def counts(url: str) -> dict[str, int]:
    """How many rows of every seeded table a role sees."""
    with psycopg.connect(url) as connection:
        rows = {table.name: connection.execute(f"SELECT count(*) FROM {table.name}").fetchone() for table in TABLES}
    return {name: row[0] for name, row in rows.items() if row}


def test_seeds_by_the_owner_leave_the_policies_in_force(seeded: AppDatabase) -> None:
    """After seeding, owner and application see nothing without a tenant; a second seeding writes nothing."""
    nothing = dict.fromkeys((table.name for table in TABLES), 0)
    assert counts(seeded.owner_url) == nothing
    assert counts(seeded.app_url) == nothing
    with psycopg.connect(seeded.owner_url) as connection:
        assert seed(connection) == nothing


def test_the_backup_role_reads_every_tenant_s_rows(seeded: AppDatabase) -> None:
    """Row-level security does not bind it."""
    assert counts(seeded.backup_url) == {table.name: table.count("small") for table in TABLES}


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO organizations (slug, name) VALUES ('mine', 'Mine')",
        "UPDATE organizations SET name = 'Mine'",
        "DELETE FROM messages",
        "TRUNCATE messages",
        "CREATE TABLE mine ()",
        "CREATE TEMPORARY TABLE mine ()",
        "DROP TABLE messages",
        "SET ROLE app_owner",
        "CREATE ROLE mine",
        "CREATE DATABASE mine",
        "COPY organizations (slug, name) FROM PROGRAM 'true'",
        "SELECT pg_read_file('PG_VERSION')",
    ],
)
def test_the_backup_role_changes_nothing(seeded: AppDatabase, statement: str) -> None:
    """It may read and nothing else."""
    with (
        psycopg.connect(seeded.backup_url, autocommit=True) as connection,
        pytest.raises(errors.InsufficientPrivilege),
    ):
        connection.execute(statement.encode())


def test_the_backup_role_is_nothing_else(seeded: AppDatabase) -> None:
    """Its attributes are to log in and to bypass row-level security, its one membership is to read all data."""
    with psycopg.connect(seeded.superuser_url) as connection:
        attributes = connection.execute(
            "SELECT rolcanlogin, rolbypassrls, rolsuper, rolcreatedb, rolcreaterole, rolreplication"
            " FROM pg_roles WHERE rolname = 'app_backup'"
        ).fetchone()
        memberships = connection.execute(
            "SELECT roleid::regrole::text FROM pg_auth_members WHERE member = 'app_backup'::regrole"
        ).fetchall()
    assert attributes == (True, True, False, False, False, False)
    assert memberships == [("pg_read_all_data",)]


def test_a_dump_by_the_backup_role_is_complete(seeded: AppDatabase, head: Environment) -> None:
    """pg_dump as app_backup succeeds, with every tenant's rows, the policies and FORCE."""
    code, dump, complaint = _dump(head, seeded.name, head.settings.backup_user, head.settings.backup_password)
    assert (code, complaint) == (0, "")
    for table in TABLES:
        rows = dump.split(f"COPY public.{table.name} ", 1)[1].split("\\.\n", 1)[0].splitlines()[1:]
        assert len(rows) == table.count("small")
        assert f"ALTER TABLE ONLY public.{table.name} FORCE ROW LEVEL SECURITY" in dump
        assert f"CREATE POLICY tenant_isolation ON public.{table.name}" in dump


def test_a_dump_by_the_owner_fails_rather_than_being_short(seeded: AppDatabase, head: Environment) -> None:
    """Which is why there is a role for it."""
    code, _, complaint = _dump(head, seeded.name, head.settings.owner, head.settings.owner_password)
    assert code == 1
    assert "row-level security" in complaint


def test_an_existing_checkout_gets_the_role(scratch: Checkout) -> None:
    """Where .env lacks its password and the server the role, the next up brings both, servers running or not."""
    dotenv = scratch.root / ".env"
    before = dotenv.read_text()
    dotenv.write_text(re.sub("^POSTGRES_BACKUP_PASSWORD=.*\n", "", before, flags=re.MULTILINE))
    assert "added POSTGRES_BACKUP_PASSWORD to .env" in scratch.run("up").stderr
    assert scratch.query("SELECT current_user::text", role="backup") == [("app_backup",)]
    dotenv.write_text(before)
    scratch.run("up")
    assert scratch.query("SELECT current_user::text", role="backup") == [("app_backup",)]


def _dump(environment: Environment, database: str, user: str, password: str) -> tuple[int, str, str]:
    """Run the server's own pg_dump as a role; its exit code, output and complaints."""
    conninfo = make_conninfo(dbname=database, user=user, password=password)
    process = environment.engine.run("pg_dump", ["--dbname", conninfo], stdout=subprocess.PIPE)
    dump, complaint = process.communicate(timeout=60)
    return process.returncode, dump.decode(), complaint.decode()
