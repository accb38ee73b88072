"""Dumps that mean harm, and loads that are stopped: nothing outside of the new database is reached, or left."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

import pytest

from drydock import postgres, template
from drydock.backup.foreign import loading
from drydock.backup.foreign.carried import Failure
from drydock.errors import NotReadyError
from tests.strangers import LOADED, Dumps, loaded

if TYPE_CHECKING:
    from pathlib import Path

    from tests.checkout import Checkout


NASTY = r"""
\! touch @/executed
\copy t from program 'touch @/executed'
SELECT 'CREATE TABLE executed ()' \gexec
CREATE ROLE mallory SUPERUSER LOGIN;
ALTER ROLE app_owner SUPERUSER;
ALTER SYSTEM SET log_min_messages = debug1;
DROP DATABASE app;
CREATE DATABASE mallory;
SET ROLE app_owner;
SET SESSION AUTHORIZATION postgres;
RESET ROLE;
DO $$ BEGIN EXECUTE 'ALTER ROLE ' || quote_ident(current_user) || ' SUPERUSER'; END $$;
DO $$ BEGIN EXECUTE 'SET ROLE postgres'; END $$;
DO $$ BEGIN EXECUTE 'SET SESSION AUTHORIZATION app_owner'; END $$;
DO $$ BEGIN EXECUTE 'CREATE ROLE mallory SUPERUSER'; END $$;
DO $$ BEGIN EXECUTE 'GRANT pg_execute_server_program TO ' || quote_ident(current_user); END $$;
DO $$ BEGIN EXECUTE 'DROP ' || 'DATABASE app'; END $$;
DO $$ BEGIN EXECUTE 'ALTER ' || 'DATABASE app RENAME TO gone'; END $$;
DO $$ BEGIN EXECUTE 'ALTER SYSTEM SET log_min_messages = debug1'; END $$;
CREATE TABLE t (a int);
COPY t TO PROGRAM 'touch @/executed';
COPY t FROM PROGRAM 'echo 1';
COPY t FROM '/etc/passwd';
SELECT pg_read_file('/etc/passwd');
SELECT lo_import('/etc/passwd');
CREATE FUNCTION c(cstring) RETURNS int LANGUAGE c AS '$libdir/vector', 'x';
CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION c();
CREATE SUBSCRIPTION s CONNECTION 'host=127.0.0.1' PUBLICATION p;
CREATE PUBLICATION all_of_it FOR ALL TABLES;
DELETE FROM pg_authid;
UPDATE pg_database SET datname = 'x' WHERE datname = 'app';
SELECT rolpassword FROM pg_authid;
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'postgres' AND pid <> pg_backend_pid();
INSERT INTO t VALUES (1), (2);
"""


def test_a_dump_reaches_nothing_but_its_own_database(ready: Checkout, tmp_path: Path) -> None:
    """Commands of psql are not executed; what concerns the server is skipped, or refused by the server where hidden."""
    path = tmp_path / "nasty.sql"
    path.write_text(NASTY.replace("@", str(tmp_path)))
    with loaded(ready, path) as carried:
        assert ready.query("SELECT count(*) FROM t", database=LOADED) == [(2,)]
    assert len(carried.commands) == 3
    assert set(carried.server_wide) == {"CREATE ROLE", "ALTER ROLE", "ALTER SYSTEM", "DROP DATABASE", "CREATE DATABASE"}
    refusals = re.compile(
        "permission denied|must be superuser|must be owner of database|cannot be executed from a function"
    )
    assert [failure for failure in carried.failures if not refusals.search(failure.reason)] == []
    assert len(carried.failures) == 21
    assert not (tmp_path / "executed").exists()


# Each would run with the superuser's rights if it were called by what loads the dump, or while an extension is made.
TRAPS = """
CREATE FUNCTION public.trap(oid, regrole) RETURNS bool LANGUAGE plpgsql AS $$
  BEGIN EXECUTE 'CREATE ROLE mallory SUPERUSER'; RETURN true; END $$;
CREATE OPERATOR public.= (LEFTARG = oid, RIGHTARG = regrole, FUNCTION = public.trap);
CREATE FUNCTION public.trap(name, unknown) RETURNS bool LANGUAGE plpgsql AS $$
  BEGIN EXECUTE 'CREATE ROLE mallory SUPERUSER'; RETURN true; END $$;
CREATE FUNCTION public.version_num() RETURNS text LANGUAGE plpgsql AS $$
  BEGIN EXECUTE 'CREATE ROLE mallory SUPERUSER'; RETURN 'x'; END $$;
CREATE VIEW public.alembic_version AS SELECT public.version_num();
CREATE TABLE t ();
"""


def test_nothing_of_a_dump_runs_with_our_rights(ready: Checkout, tmp_path: Path) -> None:
    """Operators that fit better than the catalogue's, a version table that calls a function: neither is fallen for."""
    path = tmp_path / "traps.sql"
    path.write_text(TRAPS)
    with loaded(ready, path) as carried:
        assert (carried.tables, carried.versioned) == (1, False)


def test_extensions_are_made_by_the_superuser_only_before_anything_else(scratch: Checkout) -> None:
    """One named at the beginning is put where the dump wants it; one named after the stranger's functions is not."""
    first = (
        b"CREATE SCHEMA ext; CREATE EXTENSION IF NOT EXISTS vector WITH SCHEMA ext; CREATE TABLE t (v ext.vector(2));"
    )
    with loaded(scratch, io.BytesIO(first)) as carried:
        assert carried.complete
        assert scratch.query(
            "SELECT extnamespace::regnamespace::text FROM pg_extension WHERE extname = 'vector'", database=LOADED
        ) == [("ext",)]
    late = (
        b"DROP SCHEMA public CASCADE; CREATE SCHEMA public; CREATE FUNCTION f() RETURNS int RETURN 1;"
        b"CREATE EXTENSION vector; CREATE TABLE t ();"
    )
    with loaded(scratch, io.BytesIO(late)) as carried:
        assert carried.extensions == ("vector",)
    with loaded(
        scratch, io.BytesIO(b"CREATE EXTENSION no_such_thing; CREATE TABLE t (a no_such_type); CREATE TABLE u ();")
    ) as carried:
        assert (carried.extensions, carried.complete) == (("no_such_thing",), False)
        assert carried.failures == (Failure("CREATE TABLE t", 'type "no_such_type" does not exist'),)


def test_a_version_table_that_is_a_trap_is_not_run_by_the_command(scratch: Checkout, tmp_path: Path) -> None:
    """Nothing is replaced, and what the trap would have done as the superuser was not done."""
    path = tmp_path / "traps.sql"
    path.write_text(TRAPS.replace("version_num();", "version_num() AS version_num;"))
    error = scratch.run("restore", str(path), "--yes", code=1).stderr
    assert "alembic_version is not a version table of Alembic: permission denied to create role" in error
    assert scratch.query("SELECT FROM pg_roles WHERE rolname = 'mallory'") == []
    assert scratch.query("SELECT count(*) > 0 FROM messages") == [(True,)]


class Stop(BaseException):
    """What Ctrl-C is like."""


@pytest.mark.parametrize("options", [["--format=c"], []], ids=["custom", "plain"])
def test_stopping_in_between_leaves_no_role(scratch_dumps: Dumps, options: list[str]) -> None:
    """An interruption and a lost connection end the load; the guest role is gone, as `loaded` compares."""
    checkout = scratch_dumps.checkout

    def stop(_name: str, _done: int, _total: int) -> None:
        raise Stop

    def cut(_name: str, _done: int, _total: int) -> None:
        checkout.query("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename LIKE '%guest'")

    for progress, error in ((stop, Stop), (cut, NotReadyError)):
        with pytest.raises(error), loaded(checkout, scratch_dumps.file(*options), progress):
            pass


def test_a_role_left_by_a_killed_load_is_used_again(scratch_dumps: Dumps) -> None:
    """The next load takes the role over and removes it; one that still owns things elsewhere cannot log in any more."""
    checkout = scratch_dumps.checkout
    checkout.query("CREATE ROLE app__guest LOGIN")
    with postgres.administer(checkout.environment, "postgres") as connection:
        connection.execute("CREATE SCHEMA left_behind AUTHORIZATION app__guest")
    environment = checkout.environment
    with postgres.administer(environment) as connection:
        template.drop(connection, LOADED)
        postgres.create_database(environment, connection, LOADED, task="restore")
    try:
        loading.load(environment, scratch_dumps.file(), LOADED, lambda _: None, lambda *_: None)
        assert checkout.query("SELECT rolcanlogin FROM pg_roles WHERE rolname = 'app__guest'") == [(False,)]
    finally:
        with postgres.administer(environment, "postgres") as connection:
            connection.execute("DROP SCHEMA left_behind")
            template.drop(connection, LOADED)
            connection.execute("DROP ROLE app__guest")
