"""A backup comes into an environment whose roles have other names: each of them may do what its predecessor did."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.checkout import Checkout

ROLES = {"POSTGRES_OWNER": "boss", "POSTGRES_APP_USER": "web", "POSTGRES_BACKUP_USER": "keeper"}
# Something of everything that carries rights, from less than the whole to more.
MODEL = """
SET ROLE app_owner;
CREATE TABLE prices (id int, amount int, note text);
GRANT SELECT ON prices TO app;
REVOKE INSERT, UPDATE, DELETE ON prices FROM app;
GRANT UPDATE (note) ON prices TO app WITH GRANT OPTION;
CREATE SCHEMA "Sales; dept";
GRANT USAGE, CREATE ON SCHEMA "Sales; dept" TO app;
CREATE TABLE "Sales; dept".orders (id serial, tenant text);
GRANT SELECT, INSERT ON "Sales; dept".orders TO app;
GRANT USAGE ON SEQUENCE "Sales; dept".orders_id_seq TO app;
INSERT INTO "Sales; dept".orders (tenant) VALUES ('one'), ('two'), ('three');
ALTER TABLE "Sales; dept".orders ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY mine ON "Sales; dept".orders TO app_owner USING (true);
CREATE POLICY shown ON "Sales; dept".orders FOR SELECT TO app, app_backup USING (tenant = 'one');
CREATE FUNCTION secret(int DEFAULT 1) RETURNS int LANGUAGE sql RETURN 1;
CREATE PROCEDURE act(one int, OUT two int) LANGUAGE sql BEGIN ATOMIC SELECT 1; END;
CREATE PROCEDURE act(one int, two int) LANGUAGE sql BEGIN ATOMIC SELECT 1; END;
REVOKE EXECUTE ON ROUTINE secret(int), act(one int, OUT two int), act(IN one int, IN two int) FROM PUBLIC;
GRANT EXECUTE ON PROCEDURE act(one int, OUT two int) TO app;
GRANT EXECUTE ON FUNCTION secret TO app;
CREATE DOMAIN closed AS int;
REVOKE USAGE ON TYPE closed FROM PUBLIC;
GRANT USAGE ON TYPE closed TO app;
SELECT lo_from_bytea(4711, 'large');
GRANT SELECT ON LARGE OBJECT 4711 TO app;
ALTER DEFAULT PRIVILEGES IN SCHEMA "Sales; dept" GRANT SELECT ON TABLES TO app WITH GRANT OPTION;
ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
ALTER DEFAULT PRIVILEGES GRANT EXECUTE ON FUNCTIONS TO app;
RESET ROLE;
ALTER DEFAULT PRIVILEGES IN SCHEMA "Sales; dept" GRANT INSERT ON TABLES TO app_owner;
CREATE FOREIGN DATA WRAPPER afar;
GRANT USAGE ON FOREIGN DATA WRAPPER afar TO app_owner;
CREATE SERVER abroad FOREIGN DATA WRAPPER afar;
GRANT USAGE ON FOREIGN SERVER abroad TO app;
"""
# After the restore in both, so that the default privileges show.
LATER = """
SET ROLE {owner};
CREATE TABLE "Sales; dept".later (id int);
CREATE FUNCTION later() RETURNS int LANGUAGE sql RETURN 1;
RESET ROLE;
CREATE TABLE "Sales; dept".imposed (id int);
"""
RIGHTS = """
WITH held (what, owner, acl) AS (
    SELECT 'relation ' || oid::regclass, relowner, coalesce(relacl, acldefault('r', relowner)) FROM pg_class
    WHERE relkind IN ('r', 'v', 'm', 'p', 'S')
    UNION ALL SELECT concat_ws(' ', 'column', attrelid::regclass, attname), relowner, attacl
    FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
    UNION ALL SELECT 'schema ' || oid::regnamespace, nspowner, nspacl FROM pg_namespace
    UNION ALL SELECT 'function ' || oid::regprocedure, proowner, proacl FROM pg_proc
    UNION ALL SELECT 'type ' || oid::regtype, typowner, typacl FROM pg_type
    UNION ALL SELECT 'large object ' || oid, lomowner, lomacl FROM pg_largeobject_metadata
    UNION ALL SELECT 'wrapper ' || fdwname, fdwowner, fdwacl FROM pg_foreign_data_wrapper
    UNION ALL SELECT 'server ' || srvname, srvowner, srvacl FROM pg_foreign_server
)
SELECT what, owner::regrole::text, grantee::regrole::text, privilege_type, is_grantable
FROM held, aclexplode(acl) WHERE grantee = 0 OR grantee::regrole::text = ANY ('{%s}')
"""


def rights(checkout: Checkout) -> set[tuple[Any, ...]]:
    """Who owns what, and who holds which right on it; roles by what they are for."""
    environment = checkout.environment
    kinds = {getattr(environment, kind).name: kind for kind in ("owner", "app", "backup")}
    return {tuple(kinds.get(value, value) for value in row) for row in checkout.query(RIGHTS % ",".join(kinds))}


def test_roles_of_other_names_may_do_what_the_former_did(
    any_engine: str, make_checkout: Callable[..., Checkout]
) -> None:
    """No less and no more: on everything there is and on what is to come, with the rows that policies show."""
    former, there = (make_checkout(name, ENGINE=any_engine, SEED_SIZE="small") for name in ("shop", "there"))
    there.configure(**ROLES)
    for checkout in (former, there):
        checkout.run("up")
    former.query(MODEL)
    backup = former.json("backup", "--no-verify")["path"]
    there.query("CREATE ROLE app_owner")
    there.query("CREATE DATABASE another OWNER app_owner")
    there.run("restore", backup, "--yes")
    for checkout, owner in ((former, "app_owner"), (there, "boss")):
        checkout.query(LATER.format(owner=owner))
    assert rights(there) == rights(former)
    assert ("relation prices", "owner", "app", "SELECT", False) in rights(there)
    for role, count in (("owner", 3), ("app", 1)):
        assert there.query('SELECT count(*) FROM "Sales; dept".orders', role=role) == [(count,)]
    assert there.query("SELECT datdba::regrole::text FROM pg_database WHERE datname = 'another'") == [("app_owner",)]
