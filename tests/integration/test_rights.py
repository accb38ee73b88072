"""Roles and rights: given where something is missing, and never twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from drydock import postgres
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.checkout import Checkout

NEXT = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text"
WORKERS = "SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'autovacuum%'"
PATIENCE = 30.0
DAMAGE = {
    "the password of the application": "ALTER ROLE {app} PASSWORD 'another-one'",
    "the password of the replication": "ALTER ROLE {replication} PASSWORD NULL",
    "an attribute": "ALTER ROLE {backup} NOBYPASSRLS",
    "an attribute too many": "ALTER ROLE {app} CREATEDB",
    "a membership": "REVOKE pg_read_all_data FROM {backup}",
    "a setting": "ALTER ROLE {backup} RESET lo_compat_privileges",
    "the closed door": "GRANT CONNECT ON DATABASE {database} TO PUBLIC",
    "a right on the database": "REVOKE TEMPORARY ON DATABASE {database} FROM {app}",
    "the owner of the schema": "ALTER SCHEMA public OWNER TO postgres",
    "a right on the schema": "REVOKE USAGE ON SCHEMA public FROM {app}",
    "a right on the facts": "REVOKE SELECT ON drydock.facts FROM {app}",
    "the owner of the facts": "ALTER TABLE drydock.facts OWNER TO postgres",
    "rights on tables to come": """ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA public
                                   REVOKE DELETE ON TABLES FROM {app}""",
    "rights on sequences to come": """ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA public
                                      REVOKE USAGE ON SEQUENCES FROM {app}""",
}


@pytest.fixture(scope="module")
def quiet(ready: Checkout) -> Iterator[Checkout]:
    """The shared checkout, where nothing but what a test does takes a transaction's number."""
    ready.query("ALTER SYSTEM SET autovacuum = off")
    ready.query("SELECT pg_reload_conf()")
    eventually(lambda: ready.query(WORKERS) == [(0,)], "autovacuum ends", PATIENCE)
    yield ready
    ready.query("ALTER SYSTEM RESET autovacuum")
    ready.query("SELECT pg_reload_conf()")


def history(checkout: Checkout) -> list[dict[str, object]]:
    """All transactions, newest first."""
    found: list[dict[str, object]] = checkout.json("history", "--limit", "100000")["transactions"]
    return found


def test_a_second_up_writes_nothing(quiet: Checkout) -> None:
    """Neither `up` of what is up, nor `down` and `up`, takes a transaction's number or makes a line in the history."""
    known, before = history(quiet), quiet.query(NEXT)  # the history has the WAL flushed, with a transaction
    assert quiet.json("up")["changed"] is False
    quiet.run("down")
    assert quiet.json("up")["changed"] is True
    assert quiet.query(NEXT) == before
    assert history(quiet) == known


def test_what_was_taken_away_is_given_back_and_signed(quiet: Checkout) -> None:
    """Every right, attribute and password; a line each in the history says that `up` did it."""
    environment = quiet.environment
    names = {which: getattr(environment, which).name for which in ("owner", "app", "backup", "replication")}
    names["database"] = environment.settings.database
    described = rights(quiet)
    for statement in DAMAGE.values():
        quiet.query(statement.format(**names))
    assert rights(quiet) != described
    postgres.bootstrap(environment)
    assert rights(quiet) == described
    assert [line["who"] for line in history(quiet)[:2]] == [{"task": "invoke up"}] * 2
    assert quiet.json("status")["status"] == "pass"


@pytest.mark.parametrize("what", DAMAGE)
def test_each_is_seen_by_itself(quiet: Checkout, what: str) -> None:
    """One thing is missing: one transaction, and the server is again as it was."""
    environment = quiet.environment
    names = {which: getattr(environment, which).name for which in ("owner", "app", "backup", "replication")}
    names["database"] = environment.settings.database
    described, before = rights(quiet), int(quiet.query(NEXT)[0][0])
    quiet.query(DAMAGE[what].format(**names))
    assert int(quiet.query(NEXT)[0][0]) == before + 1
    postgres.bootstrap(environment)
    assert int(quiet.query(NEXT)[0][0]) == before + 2
    assert rights(quiet) == described
    assert quiet.query("SELECT 1", role="app") == [(1,)]
    postgres.bootstrap(environment)
    assert int(quiet.query(NEXT)[0][0]) == before + 2


def rights(checkout: Checkout) -> list[list[tuple[object, ...]]]:
    """Everything that is to be put back, but for the salt of passwords."""
    return [
        sorted(checkout.query(query), key=str)
        for query in (
            """SELECT rolname, rolcanlogin, rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls,
                      rolpassword IS NULL FROM pg_authid WHERE rolname !~ '^pg_'""",
            "SELECT roleid::regrole::text, member::regrole::text FROM pg_auth_members",
            "SELECT setdatabase, setrole::regrole::text, setconfig FROM pg_db_role_setting",
            """SELECT 'database', acl.grantee::regrole::text, acl.privilege_type
                 FROM pg_database, aclexplode(datacl) AS acl WHERE datname = current_database()""",
            """SELECT nspname, nspowner::regrole::text, acl.grantee::regrole::text, acl.privilege_type
                 FROM pg_namespace, aclexplode(nspacl) AS acl""",
            """SELECT relname, relowner::regrole::text, acl.grantee::regrole::text, acl.privilege_type
                 FROM pg_class, aclexplode(relacl) AS acl WHERE relname = 'facts'""",
            """SELECT defaclrole::regrole::text, defaclobjtype, acl.grantee::regrole::text, acl.privilege_type
                 FROM pg_default_acl, aclexplode(defaclacl) AS acl""",
        )
    ]
