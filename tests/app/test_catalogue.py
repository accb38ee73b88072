"""The rules of tenant tables, read from the catalogue: a future table that breaks one fails here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from app.models import Base

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.app.conftest import AppDatabase

ROOT = "organizations"
"""The tenants themselves: their own id is the tenant."""
APPEND_ONLY = {"audit_events"}
"""Trails: they have no policy for changes, may have no tenant, and refer to nothing that could take them along."""

TENANT = "( SELECT (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::uuid AS \"nullif\")"
DOOR = "(( SELECT NULLIF(current_setting('app.system_access'::text, true), ''::text) AS \"nullif\") IS NOT NULL)"

TABLES = """
    SELECT c.relname, c.relrowsecurity, c.relforcerowsecurity, c.relkind::text
    FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
    UNION ALL SELECT relname, relrowsecurity, relforcerowsecurity, relkind::text
    FROM pg_class WHERE oid = 'organizations'::regclass
"""
POLICIES = """
    SELECT p.polname, p.polcmd::text, p.polpermissive,
           ARRAY(SELECT coalesce(rolname, 'public') FROM unnest(p.polroles) AS o LEFT JOIN pg_roles AS r ON r.oid = o),
           pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid)
    FROM pg_policy AS p WHERE p.polrelid = %s::regclass
"""
FOREIGN_KEYS = """
    SELECT k.conname, k.confrelid::regclass::text,
           ARRAY(SELECT concat(c.attname, ' -> ', p.attname) FROM unnest(k.conkey, k.confkey) AS pair (child, parent)
                 JOIN pg_attribute AS c ON c.attrelid = k.conrelid AND c.attnum = pair.child
                 JOIN pg_attribute AS p ON p.attrelid = k.confrelid AND p.attnum = pair.parent)
    FROM pg_constraint AS k WHERE k.contype = 'f' AND k.conrelid = %s::regclass
"""
COLUMN = """
    SELECT a.attnotnull, format_type(a.atttypid, a.atttypmod), pg_get_expr(d.adbin, d.adrelid)
    FROM pg_attribute AS a LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attrelid = %s::regclass AND a.attname = 'tenant_id'
"""
LEADING = """
    SELECT count(*) FROM pg_index AS i JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
    WHERE i.indrelid = %s::regclass AND a.attname = 'tenant_id' AND i.indisvalid AND i.indpred IS NULL
"""
UNIQUE_LEADERS = """
    SELECT i.indexrelid::regclass::text FROM pg_index AS i
    JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
    WHERE i.indrelid = %s::regclass AND i.indisunique AND NOT i.indisprimary AND a.attname <> 'tenant_id'
    UNION ALL SELECT i.indexrelid::regclass::text FROM pg_index AS i
    WHERE i.indrelid = %s::regclass AND i.indisunique AND i.indkey[0] = 0
"""
TRIGGER = """
    SELECT count(*) FROM pg_trigger WHERE tgrelid = %s::regclass AND tgname = 'set_updated_at' AND tgenabled = 'O'
"""
UNRESTORABLE = """
    SELECT t.tgname, a.attname FROM pg_trigger AS t
    JOIN pg_attribute AS a ON a.attrelid = t.tgrelid AND a.attgenerated <> '' AND NOT a.attisdropped
    WHERE t.tgrelid = %s::regclass AND t.tgtype & 2 > 0 AND pg_get_triggerdef(t.oid) ~ 'WHEN .*\\mnew\\.\\*'
"""
HAS_UPDATED_AT = "SELECT count(*) FROM pg_attribute WHERE attrelid = %s::regclass AND attname = 'updated_at'"
VIEWS = """
    SELECT c.relname, c.relkind::text, coalesce(c.reloptions, '{}') @> ARRAY['security_invoker=true']
    FROM pg_class AS c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('v', 'm')
"""
FUNCTIONS = """
    SELECT p.oid::regprocedure::text FROM pg_proc AS p
    WHERE p.pronamespace = 'public'::regnamespace AND p.prosecdef
      AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.objid = p.oid AND d.deptype = 'e')
"""
EXCESS = """
    SELECT c.relname, privilege FROM pg_class AS c, unnest(ARRAY['TRUNCATE', 'REFERENCES', 'TRIGGER']) AS privilege
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm')
      AND has_table_privilege('app', c.oid, privilege)
"""
UNIQUE_ACROSS_TENANTS = {"uq_users_email_key", "uq_users_external_id", "uq_organizations_slug"}
"""Uniqueness that tenants share on purpose, and can therefore probe; each is explained where its model stands."""

Rows = list[tuple[Any, ...]]


def policies_of(table: str) -> set[tuple[Any, ...]]:
    """What the policies of a table must be, to the letter."""
    tenant = f"({'id' if table == ROOT else 'tenant_id'} = {TENANT})"
    rules = (("tenant_isolation", ("public",), tenant), ("system_access", ("app_owner",), DOOR))
    if table in APPEND_ONLY:
        read = {(name, "r", True, role, rule, None) for name, role, rule in rules}
        return read | {(f"{name}_insert", "a", True, role, None, rule) for name, role, rule in rules}
    return {(name, "*", True, role, rule, rule) for name, role, rule in rules}


def tenant_key_problems(table: str, keys: Rows) -> Iterator[str]:
    """Foreign keys that could point into another tenant's rows."""
    for name, parent, pairs in keys:
        if "tenant_id -> tenant_id" not in pairs and (parent, pairs) != (ROOT, ["tenant_id -> id"]):
            yield f"{table}: foreign key {name} does not include tenant_id: use tenant_key()"
    if table not in {ROOT, *APPEND_ONLY} and ROOT not in {parent for _, parent, _ in keys}:
        yield f"{table}: tenant_id does not refer to {ROOT}"


def table_problems(connection: psycopg.Connection[Any], table: str) -> Iterator[str]:
    """What is wrong with one table that has a tenant."""

    def ask(query: str, *more: str) -> Rows:
        return connection.execute(query.encode(), [table, *more]).fetchall()

    found = {(name, cmd, permissive, tuple(roles), *rules) for name, cmd, permissive, roles, *rules in ask(POLICIES)}
    if found != policies_of(table):
        yield f"{table}: its policies are not those of op.enable_tenant_isolation()"
    yield from tenant_key_problems(table, ask(FOREIGN_KEYS))
    if ask(HAS_UPDATED_AT)[0][0] and not ask(TRIGGER)[0][0]:
        yield f"{table}: no trigger keeps updated_at: op.keep_updated_at()"
    for trigger, column in ask(UNRESTORABLE):
        yield f"{table}: no dump of it can be restored: WHEN of {trigger} compares {column}: set_updated_at_but_for()"
    for (index,) in ask(UNIQUE_LEADERS, table):
        if index not in UNIQUE_ACROSS_TENANTS and index != f"uq_{table}_slug":
            yield f"{table}: {index} is unique across tenants: lead with tenant_id"
    if table == ROOT:
        return
    if not ask(LEADING)[0][0]:
        yield f"{table}: no index leads with tenant_id"
    ((required, kind, default),) = ask(COLUMN)
    if kind != "uuid" or default is None or "app.tenant_id" not in default or not (required or table in APPEND_ONLY):
        yield f"{table}: tenant_id is not as TenantScoped has it"


def problems(connection: psycopg.Connection[Any]) -> list[str]:
    """Everything in the database that could let one tenant at the rows of another."""
    found = []
    for table, enabled, forced, _kind in connection.execute(TABLES.encode()).fetchall():
        if not enabled or not forced:
            found.append(f"{table}: row-level security is not {'forced' if enabled else 'enabled'}")
        found += table_problems(connection, table)
    for view, kind, invoker in connection.execute(VIEWS.encode()).fetchall():
        if kind == "m":
            found.append(f"{view}: a materialized view holds the rows of all tenants")
        elif not invoker:
            found.append(f"{view}: the view lacks WITH (security_invoker = true)")
    found += [f"{name}: runs as its owner" for (name,) in connection.execute(FUNCTIONS.encode()).fetchall()]
    found += [f"{name}: app may {what}" for name, what in connection.execute(EXCESS.encode()).fetchall()]
    return found


@pytest.fixture
def owner(app_database: AppDatabase) -> Iterator[psycopg.Connection[Any]]:
    """The owner's connection, whose work is rolled back."""
    with psycopg.connect(app_database.owner_url) as connection:
        yield connection
        connection.rollback()


def test_every_table_keeps_the_rules(owner: psycopg.Connection[Any]) -> None:
    """Nothing at head is wrong."""
    assert problems(owner) == []


def test_every_model_is_a_tenant_s(owner: psycopg.Connection[Any]) -> None:
    """All tables of the models are looked at above; a table without tenants would be named here."""
    assert {row[0] for row in owner.execute(TABLES.encode()).fetchall()} == set(Base.metadata.tables)


GOOD = """
    CREATE TABLE bad (id uuid PRIMARY KEY,
        tenant_id uuid NOT NULL DEFAULT (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::uuid
            REFERENCES organizations, UNIQUE (tenant_id, id));
    ALTER TABLE bad ENABLE ROW LEVEL SECURITY;
    ALTER TABLE bad FORCE ROW LEVEL SECURITY;
    CREATE POLICY tenant_isolation ON bad
        USING (tenant_id = (SELECT nullif(current_setting('app.tenant_id', true), '')::uuid))
        WITH CHECK (tenant_id = (SELECT nullif(current_setting('app.tenant_id', true), '')::uuid));
    CREATE POLICY system_access ON bad TO app_owner
        USING ((SELECT nullif(current_setting('app.system_access', true), '')) IS NOT NULL)
        WITH CHECK ((SELECT nullif(current_setting('app.system_access', true), '')) IS NOT NULL);
"""
FAULTS = {
    "ALTER TABLE bad DISABLE ROW LEVEL SECURITY": "not enabled",
    "ALTER TABLE bad NO FORCE ROW LEVEL SECURITY": "not forced",
    "DROP POLICY tenant_isolation ON bad": "policies are not those",
    "CREATE POLICY open ON bad USING (true)": "policies are not those",
    "ALTER POLICY tenant_isolation ON bad USING (true)": "policies are not those",
    "ALTER POLICY tenant_isolation ON bad TO app": "policies are not those",
    "ALTER POLICY system_access ON bad TO PUBLIC": "policies are not those",
    "ALTER POLICY tenant_isolation ON bad"
    " USING (tenant_id = current_setting('app.tenant_id')::uuid)": "policies are not those",
    "ALTER TABLE bad ADD parent uuid REFERENCES users": "does not include tenant_id",
    "ALTER TABLE bad ADD parent uuid, ADD FOREIGN KEY (tenant_id, parent)"
    " REFERENCES users (id, tenant_id)": "does not include tenant_id",
    "ALTER TABLE bad DROP CONSTRAINT bad_tenant_id_fkey": "does not refer to organizations",
    "ALTER TABLE bad DROP CONSTRAINT bad_tenant_id_id_key": "no index leads",
    "ALTER TABLE bad ADD code text UNIQUE": "unique across tenants",
    "CREATE UNIQUE INDEX ON bad ((id::text))": "unique across tenants",
    "ALTER TABLE bad ALTER tenant_id DROP DEFAULT": "not as TenantScoped",
    "ALTER TABLE bad ALTER tenant_id DROP NOT NULL": "not as TenantScoped",
    "ALTER TABLE bad ADD updated_at timestamptz": "no trigger",
    "ALTER TABLE bad ADD updated_at timestamptz, ADD code text; CREATE TRIGGER set_updated_at BEFORE UPDATE ON bad"
    " FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION set_updated_at();"
    " ALTER TABLE bad ADD key text GENERATED ALWAYS AS (lower(code)) STORED": "no dump of it can be restored",
    "CREATE VIEW open AS SELECT * FROM users": "security_invoker",
    "CREATE MATERIALIZED VIEW open AS SELECT * FROM users": "materialized",
    "CREATE FUNCTION open() RETURNS bigint SECURITY DEFINER LANGUAGE sql AS 'SELECT count(*) FROM users'": "its owner",
    "GRANT TRUNCATE ON bad TO app": "app may TRUNCATE",
}


def test_a_table_as_it_should_be_passes(owner: psycopg.Connection[Any]) -> None:
    """The faults below are told from a table that has none."""
    owner.execute(GOOD.encode())
    assert problems(owner) == []


@pytest.mark.parametrize(("fault", "told"), FAULTS.items(), ids=range(len(FAULTS)))
def test_every_fault_is_told(owner: psycopg.Connection[Any], fault: str, told: str) -> None:
    """Each way to get a tenant table wrong is found, and is all that is found."""
    owner.execute(GOOD.encode())
    owner.execute(fault.encode())
    (problem,) = problems(owner)
    assert told in problem
