"""Attacks on a tenant's rows: what somebody may try who can run any SQL as the application's role for another tenant.

Every one is tried on every table. `{t}` is the table, `{tenant}` its tenant column and `{columns}` all that a row can
bring, `{a}` the attacker's tenant and `{b}` the victim's, `{row}` a victim's row and `{ctid}` its place, `{new}` and
`{same}` that row as JSON with a new id and with its own, `{mine}` the latter for the attacker's tenant. An attacker is
assumed to know all of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Attack:
    """Statements to run in turn. Rows that the last one returns, a division by zero or a changed victim are a leak.

    Attributes:
        name: what is tried.
        statements: SQL with the placeholders above.
        guard: what stops it: the `policy`, a missing `privilege`, or a `key` besides the policy.
    """

    name: str
    statements: tuple[str, ...]
    guard: str = "policy"


def attack(name: str, *statements: str, guard: str = "policy") -> Attack:
    """One attack."""
    return Attack(name, statements, guard)


VICTIMS = "SELECT 1 FROM {t} WHERE {tenant} = '{b}'"
OTHERS = "SELECT 1 FROM {t} WHERE {tenant} IS DISTINCT FROM '{a}'"
RECORD = "jsonb_populate_record(NULL::{t}, '{new}')"
TOUCH = "created_at = 'epoch'"

READS = (
    attack("select the tenant", VICTIMS),
    attack("select the row", "SELECT 1 FROM {t} WHERE id = '{row}'"),
    attack("select all others", OTHERS),
    attack("select for update", "SELECT 1 FROM {t} WHERE id = '{row}' FOR UPDATE"),
    attack("select by place", "SELECT 1 FROM {t} WHERE ctid = '{ctid}'"),
    attack("select a sample", "SELECT 1 FROM {t} TABLESAMPLE SYSTEM (100) WHERE {tenant} = '{b}'"),
    attack("exists", "SELECT 1 WHERE EXISTS (SELECT FROM {t} WHERE id = '{row}')"),
    attack("count", "SELECT count(*) FROM {t} WHERE {tenant} = '{b}' HAVING count(*) > 0"),
    attack("common table expression", "WITH x AS MATERIALIZED (TABLE {t}) SELECT 1 FROM x WHERE {tenant} = '{b}'"),
    attack("union", "SELECT 1 FROM (TABLE {t} UNION ALL TABLE {t}) AS x WHERE {tenant} = '{b}'"),
    attack("join", "SELECT 1 FROM organizations RIGHT JOIN {t} AS x ON true WHERE x.{tenant} = '{b}'"),
    attack("lateral join", "SELECT 1 FROM organizations AS o, LATERAL (SELECT FROM {t} WHERE {tenant} <> o.id) AS x"),
    attack("cursor", f"DECLARE spy CURSOR FOR {VICTIMS}", "FETCH ALL FROM spy"),
    attack("prepared statement", f"PREPARE spy AS {VICTIMS}", "EXECUTE spy", "DEALLOCATE spy", "SELECT 1 WHERE false"),
    attack("copy out", "COPY {t} TO STDOUT"),
    attack("copy a query out", f"COPY ({VICTIMS}) TO STDOUT"),
    attack("temporary view", "CREATE TEMPORARY VIEW spy AS TABLE {t}", "SELECT 1 FROM spy WHERE {tenant} = '{b}'"),
    attack("temporary copy", "CREATE TEMPORARY TABLE spy AS TABLE {t}", "SELECT 1 FROM spy WHERE {tenant} = '{b}'"),
    attack("view of the owner", "SELECT 1 FROM {t}_view WHERE {tenant} = '{b}'"),
    attack("function of the owner", "SELECT 1 FROM {t}_rows() WHERE {tenant} = '{b}'"),
    attack(
        "security definer of one's own",
        "CREATE FUNCTION pg_temp.spy() RETURNS SETOF {t} LANGUAGE sql SECURITY DEFINER AS 'TABLE {t}'",
        "SELECT 1 FROM pg_temp.spy() WHERE {tenant} = '{b}'",
    ),
    attack("block", f"DO $$ BEGIN IF EXISTS ({VICTIMS}) THEN RAISE division_by_zero; END IF; END $$"),
    attack("error as an oracle", "SELECT 1 FROM {t} WHERE 1 / ({tenant} <> '{b}')::int < 0"),
    attack(
        "cheap function before the policy",
        "CREATE FUNCTION pg_temp.spy(uuid) RETURNS boolean LANGUAGE plpgsql COST 0.0000001"
        " AS $$ BEGIN IF $1 = '{b}' THEN RAISE division_by_zero; END IF; RETURN false; END $$",
        "SELECT 1 FROM {t} WHERE pg_temp.spy({tenant})",
    ),
    attack("row security off", "SET LOCAL row_security = off", VICTIMS),
    attack("statistics", "SELECT 1 FROM pg_stats WHERE tablename = '{t}' LIMIT 1"),
    attack("no tenant", "SELECT set_config('app.tenant_id', '', true)", OTHERS),
    attack("blank tenant", "SELECT set_config('app.tenant_id', ' ', true)", OTHERS),
    attack("reset tenant", "RESET app.tenant_id", OTHERS),
    attack("nonsense for a tenant", "SELECT set_config('app.tenant_id', 'nonsense', true)", OTHERS),
    attack("two tenants", "SELECT set_config('app.tenant_id', '{{{a},{b}}}', true)", OTHERS),
    attack("quotes in a tenant", "SELECT set_config('app.tenant_id', $$' OR '1' = '1$$, true)", OTHERS),
    attack("forged door", "SELECT set_config('app.system_access', 'forged', true)", VICTIMS),
    attack("forged door of the session", "SET app.system_access = 'forged'", VICTIMS),
)
WRITES = (
    attack("insert", f"INSERT INTO {{t}} ({{columns}}) SELECT {{columns}} FROM {RECORD} AS x"),
    attack("insert and return", f"INSERT INTO {{t}} ({{columns}}) SELECT {{columns}} FROM {RECORD} AS x RETURNING 1"),
    attack("insert by copy", "COPY {t} ({columns}) FROM STDIN"),
    attack(
        "upsert",
        "INSERT INTO {t} ({columns}) SELECT {columns} FROM jsonb_populate_record(NULL::{t}, '{same}') AS x"
        f" ON CONFLICT (id) DO UPDATE SET {TOUCH}",
    ),
    attack(
        "upsert from one's own",
        "INSERT INTO {t} ({columns}) SELECT {columns} FROM jsonb_populate_record(NULL::{t}, '{mine}') AS x"
        f" ON CONFLICT (id) DO UPDATE SET {TOUCH}",
    ),
    attack("update the row", f"UPDATE {{t}} SET {TOUCH} WHERE id = '{{row}}'"),
    attack("update the tenant", f"UPDATE {{t}} SET {TOUCH} WHERE {{tenant}} = '{{b}}'"),
    attack("update and return", f"UPDATE {{t}} SET {TOUCH} WHERE id = '{{row}}' RETURNING 1"),
    attack("update by join", f"UPDATE {{t}} AS x SET {TOUCH} FROM organizations WHERE x.{{tenant}} = '{{b}}'"),
    attack("take over", "UPDATE {t} SET {tenant} = '{a}' WHERE id = '{row}'", guard="key"),
    attack("foist", "UPDATE {t} SET {tenant} = '{b}' WHERE {tenant} = '{a}'", guard="key"),
    attack("delete the row", "DELETE FROM {t} WHERE id = '{row}'"),
    attack("delete the tenant", "DELETE FROM {t} WHERE {tenant} = '{b}'"),
    attack("delete by join", "DELETE FROM {t} AS x USING organizations WHERE x.{tenant} = '{b}'"),
    attack("delete in a query", f"WITH x AS (DELETE FROM {{t}} WHERE {{tenant}} = '{{b}}' RETURNING 1) {VICTIMS}"),
    attack(
        "merge to update",
        "MERGE INTO {t} AS x USING (VALUES ('{row}'::uuid)) AS v (id) ON x.id = v.id"
        f" WHEN MATCHED THEN UPDATE SET {TOUCH}",
    ),
    attack(
        "merge to delete",
        "MERGE INTO {t} AS x USING (VALUES ('{row}'::uuid)) AS v (id) ON x.id = v.id WHEN MATCHED THEN DELETE",
    ),
)
PRIVILEGES = tuple(
    attack(statement.split(" {t}")[0].lower(), statement, guard="privilege")
    for statement in (
        "TRUNCATE {t}",
        "TRUNCATE TABLE {t} CASCADE",
        "ALTER TABLE {t} DISABLE ROW LEVEL SECURITY",
        "ALTER TABLE IF EXISTS {t} NO FORCE ROW LEVEL SECURITY",
        "ALTER TABLE ONLY {t} OWNER TO app",
        "DROP TABLE {t} CASCADE",
        "DROP POLICY tenant_isolation ON {t}",
        "ALTER POLICY tenant_isolation ON {t} USING (true)",
        "CREATE POLICY mine ON {t} USING (true)",
        "CREATE RULE spy AS ON INSERT TO {t} DO ALSO SELECT 1",
        "CREATE TRIGGER spy BEFORE UPDATE ON {t} FOR EACH ROW EXECUTE FUNCTION set_updated_at()",
        "CREATE INDEX ON {t} (id)",
        "CREATE VIEW spy AS TABLE {t}",
        "CREATE TEMPORARY TABLE spy (id uuid REFERENCES {t})",
        "CREATE TEMPORARY TABLE spy () INHERITS ({t})",
        "GRANT ALL ON {t} TO PUBLIC",
        "COPY {t} TO '/tmp/spied'",
        "COPY {t} TO PROGRAM 'cat'",
        "CREATE OR REPLACE FUNCTION {t}_rows() RETURNS SETOF {t} LANGUAGE sql AS 'TABLE {t}'",
    )
)
ESCALATIONS = (
    "SET ROLE app_owner",
    "SET ROLE app_backup",
    "SET ROLE postgres",
    "SET LOCAL ROLE pg_read_all_data",
    "SET SESSION AUTHORIZATION app_owner",
    "ALTER ROLE app BYPASSRLS",
    "ALTER ROLE app SUPERUSER",
    "GRANT app_owner TO app",
    "GRANT pg_read_all_data TO app",
    "CREATE ROLE spy",
    "ALTER DATABASE postgres SET app.tenant_id = 'x'",
    "ALTER ROLE app_owner SET row_security = off",
    "SET session_replication_role = replica",
    "CREATE FUNCTION public.spy() RETURNS void LANGUAGE sql AS ''",
    "CREATE EXTENSION dblink",
    "LOAD 'auto_explain'",
    "SELECT pg_read_file('postgresql.conf')",
    "SELECT lo_import('/etc/passwd')",
    "TABLE pg_authid",
    "TABLE pg_statistic",
)
"""Ways to become somebody else, which are tried once and on a login of the application's role itself."""


ISOLATION = "isolation of tenants"
"""The property of a test's report with its numbers of attempts and of leaks."""


@dataclass
class Ledger:
    """What a test tried against the isolation of tenants, and what got through."""

    attempts: int = 0
    leaks: list[str] = field(default_factory=list)

    def enter(self, what: str, leak: str) -> None:
        """Note an attempt, and what leaked by it."""
        self.attempts += 1
        if leak:
            self.leaks.append(f"{what}: {leak}")
