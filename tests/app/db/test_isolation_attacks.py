"""Isolation proven by attack: every way that is known, on every table, and none gets through."""

from __future__ import annotations

import asyncio
import json
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import errors
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from app.db import tenancy
from app.db.tenancy import tenant_context
from app.models import Base
from app.seeds.plan import identity
from tests.app.db.attacks import ESCALATIONS, PRIVILEGES, READS, WRITES, Attack, Ledger
from tests.app.db.conftest import one_connection

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from drydock.testing import Database

Connection = psycopg.Connection[Any]

TABLES = sorted(Base.metadata.tables)
ATTACKER, VICTIM = identity("organizations", 0), identity("organizations", 1)
# What keeps a copy of a row from being refused for a reason of its own.
FRESH = {"slug": "fresh", "email": "fresh@globex.example", "external_id": "fresh", "name": "Fresh", "position": 999}
# An attack that fails for one of these was never made.
BROKEN = (errors.UndefinedTable, errors.UndefinedColumn, errors.UndefinedFunction, errors.SyntaxError)
# A column that the server generates refuses every value, the attacker's as well as anybody's.
WRITABLE = """
    SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute
    WHERE attrelid = '{}'::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
"""
each_table = pytest.mark.parametrize("table", TABLES)


@dataclass
class Target:
    """One table as an attacker sees it: the values for the placeholders of an attack, and a line for COPY."""

    table: str
    values: dict[str, str] = field(default_factory=dict)
    line: bytes = b""


@pytest.fixture
def attacked(seeded_postgres: Database) -> Database:
    """A seeded database with an audit trail, and views and functions that the owner made with care."""
    with seeded_postgres.connect("owner") as connection:
        for tenant in (ATTACKER, VICTIM):
            connection.execute("SELECT set_config('app.tenant_id', %s, true)", [str(tenant)])
            connection.execute("INSERT INTO audit_events (action) VALUES ('tenant.seeded')")
        for table in TABLES:
            connection.execute(f"CREATE VIEW {table}_view WITH (security_invoker) AS TABLE {table}".encode())
            function = f"CREATE FUNCTION {table}_rows() RETURNS SETOF {table} LANGUAGE sql STABLE AS 'TABLE {table}'"
            connection.execute(function.encode())
            connection.execute(f"ANALYZE {table}".encode())
    return seeded_postgres


@pytest.fixture
def superuser(attacked: Database) -> Iterator[Connection]:
    """Who becomes the attacker for the length of an attack, and judges it afterwards."""
    with psycopg.connect(attacked.superuser_url) as connection:
        yield connection
        connection.rollback()


def one(connection: Connection, query: str) -> Any:
    """The first column of the only row."""
    row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


def reconnoitre(connection: Connection, table: str) -> Target:
    """Everything there is to know about a table's victim."""
    tenant = "id" if table == "organizations" else "tenant_id"
    victim = f"FROM {table} WHERE {tenant} = '{VICTIM}' ORDER BY id LIMIT 1"
    row: dict[str, Any] = one(connection, f"SELECT to_jsonb({table}) {victim}")
    new = row | {name: value for name, value in FRESH.items() if name in row} | {"id": str(uuid4())}
    shown = {"new": new, "same": row, "mine": new | {"id": row["id"], "tenant_id": str(ATTACKER)}}
    values = {name: json.dumps(value).replace("'", "''") for name, value in shown.items()}
    values |= {"t": table, "tenant": tenant, "a": str(ATTACKER), "b": str(VICTIM), "row": row["id"]}
    values["ctid"] = one(connection, f"SELECT ctid::text {victim}")
    values["columns"] = one(connection, WRITABLE.format(table))
    target = Target(table, values)
    record = f"SELECT {values['columns']} FROM jsonb_populate_record(NULL::{table}, '{values['new']}')"
    with connection.cursor().copy(f"COPY ({record}) TO STDOUT".encode()) as copy:
        target.line = b"".join(bytes(part) for part in copy)
    return target


def fingerprint(connection: Connection, table: str) -> tuple[Any, ...]:
    """Which versions of which rows a table holds that are not the attacker's, and how it is guarded."""
    tenant = "id" if table == "organizations" else "tenant_id"
    query = f"""
        SELECT (SELECT md5(string_agg(concat(id, ctid, xmin), '|' ORDER BY id)) FROM {table} AS x
                WHERE {tenant} IS DISTINCT FROM '{ATTACKER}'),
               relrowsecurity, relforcerowsecurity, relowner, relacl::text, pg_get_functiondef('{table}_rows'::regproc),
               (SELECT array_agg(p::text ORDER BY polname) FROM pg_policy AS p WHERE polrelid = c.oid)
        FROM pg_class AS c WHERE oid = '{table}'::regclass
    """
    return tuple(connection.execute(query.encode()).fetchall())


def run(connection: Connection, attack: Attack, target: Target) -> bool:
    """Run an attack's statements; whether it got anything back."""
    found = False
    for statement in attack.statements:
        query = statement.format(**target.values).encode()
        if statement.startswith("COPY"):
            found = copied(connection, query, target)
            continue
        cursor = connection.execute(query)
        rows = cursor.fetchall() if cursor.description else []
        found = bool(rows) and "set_config" not in statement
        if statement.startswith("EXECUTE") and found:
            return True
    return found


def copied(connection: Connection, query: bytes, target: Target) -> bool:
    """Run a COPY either way; whether a victim's row came out."""
    with connection.cursor().copy(query) as copy:
        if b"FROM STDIN" in query:
            copy.write(target.line)
            return False
        data = b"".join(bytes(part) for part in copy)
    return str(VICTIM).encode() in data or (b"SELECT" in query and bool(data))


def leaks(connection: Connection, attack: Attack, target: Target) -> str:
    """Try one attack as the application's role for the attacker's tenant, and take it back; what leaked, or ""."""
    before = fingerprint(connection, target.table)
    connection.execute("SET SESSION AUTHORIZATION app")
    connection.execute("SELECT set_config('app.tenant_id', %s, true)", [str(ATTACKER)])
    assert one(connection, "SELECT session_user || current_user") == "appapp"
    leak = ""
    try:
        leak = "rows came back" if run(connection, attack, target) else ""
        connection.execute("RESET SESSION AUTHORIZATION")
        if fingerprint(connection, target.table) != before:
            leak = "the victim changed"
    except errors.DivisionByZero:
        leak = "an error told"
    except BROKEN:
        raise
    except psycopg.Error:
        pass
    finally:
        connection.rollback()
    return leak


@each_table
def test_no_attack_gets_through(superuser: Connection, ledger: Ledger, table: str) -> None:
    """Reads, writes and attempts on the guards themselves, all for nothing."""
    target = reconnoitre(superuser, table)
    superuser.rollback()
    for attack in (*READS, *WRITES, *PRIVILEGES):
        ledger.enter(f"{table}: {attack.name}", leaks(superuser, attack, target))
    assert ledger.leaks == []


@each_table
def test_the_attacks_bite(superuser: Connection, table: str) -> None:
    """With row-level security switched off, every attack that the policies are to stop does get through."""
    target = reconnoitre(superuser, table)
    superuser.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY".encode())
    superuser.commit()
    try:
        harmless = [
            attack.name
            for attack in (*READS, *WRITES)
            if attack.guard == "policy" and not leaks(superuser, attack, target)
        ]
    finally:
        superuser.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY".encode())
        superuser.commit()
    assert harmless == []


KEYS = """
    SELECT conrelid::regclass::text, confrelid::regclass::text, a.attname
    FROM pg_constraint JOIN pg_attribute AS a ON attrelid = conrelid AND attnum = ANY (conkey)
    WHERE contype = 'f' AND array_length(conkey, 1) = 2 AND attname <> 'tenant_id' ORDER BY 1
"""


def test_a_foreign_key_tells_nothing(superuser: Connection, ledger: Ledger) -> None:
    """A reference to another tenant's row fails just as one to no row at all: word for word, but for the id."""
    keys = superuser.execute(KEYS.encode()).fetchall()
    assert len(keys) == len(TABLES) - 7
    for child, parent, column in keys:
        theirs = str(one(superuser, f"SELECT id FROM {parent} WHERE tenant_id = '{VICTIM}' LIMIT 1"))
        nobodys = str(uuid4())
        superuser.rollback()
        told = []
        for reference in (theirs, nobodys):
            superuser.execute("SET SESSION AUTHORIZATION app")
            superuser.execute("SELECT set_config('app.tenant_id', %s, true)", [str(ATTACKER)])
            with pytest.raises(errors.ForeignKeyViolation) as caught:
                superuser.execute(f"UPDATE {child} SET {column} = '{reference}'".encode())
            superuser.rollback()
            told.append(str(caught.value).replace(reference, "?"))
        ledger.enter(f"{child}: probe {parent}", "" if told[0] == told[1] else f"told apart: {told}")
    assert ledger.leaks == []


def test_the_application_s_login_stays_itself(attacked: Database, ledger: Ledger) -> None:
    """On a real login of the role, none of the ways to become somebody else works."""
    refusals = (errors.InsufficientPrivilege, errors.UndefinedFile, errors.FeatureNotSupported)
    for statement in ESCALATIONS:
        with attacked.connect(autocommit=True) as connection:
            try:
                connection.execute(statement.encode())
                leak = "was let"
            except refusals:
                leak = ""
            ledger.enter(statement, leak or ("" if one(connection, "SELECT current_user") == "app" else "is another"))
    assert ledger.leaks == []


def tally(
    ledger: Ledger, tenant: UUID | None, seen: list[tuple[str, str | None, int]], expected: dict[tuple[str, str], int]
) -> None:
    """Enter what a transaction saw of every table: its own tenant's rows, all of them and no others."""
    for table in TABLES:
        rows = {owner: count for name, owner, count in seen if name == table}
        mine = {str(tenant): expected[table, str(tenant)]} if tenant else {}
        ledger.enter(f"{table}: as {tenant}", "" if rows == mine else f"saw {rows}, not {mine}")


CENSUS = " UNION ALL ".join(
    f"SELECT '{table}', {'id' if table == 'organizations' else 'tenant_id'}::text, count(*) FROM {table} GROUP BY 2"
    for table in TABLES
)


@pytest.fixture
def expected(superuser: Connection) -> dict[tuple[str, str], int]:
    """How many rows of each table each tenant has."""
    return {(table, tenant): count for table, tenant, count in superuser.execute(CENSUS.encode()).fetchall()}


@contextmanager
def working_for(tenant: UUID | None) -> Iterator[None]:
    """A tenant context, or none."""
    with ExitStack() as stack:
        if tenant:
            stack.enter_context(tenant_context(tenant))
        yield


def test_a_pooled_connection_carries_nothing_over(
    attacked: Database, ledger: Ledger, expected: dict[tuple[str, str], int]
) -> None:
    """A, B, nobody and A on one connection, each way a transaction can end between them."""
    census = text(CENSUS)
    for ending in ("commit", "rollback", "error", "savepoint"):
        with one_connection(attacked.app_url) as engine:
            for tenant in (ATTACKER, VICTIM, None, ATTACKER):
                with working_for(tenant), engine.connect() as connection:
                    seen = [tuple(row) for row in connection.execute(census)]
                    if ending == "savepoint":
                        nested = connection.begin_nested()
                        connection.execute(text("SELECT set_config('app.tenant_id', :id, true)"), {"id": str(VICTIM)})
                        nested.rollback()
                        seen = [tuple(row) for row in connection.execute(census)]
                    if ending == "error":
                        with pytest.raises(Exception, match="division by zero"):
                            connection.execute(text("SELECT 1 / 0"))
                    elif ending == "commit":
                        connection.commit()
                tally(ledger, tenant, seen, expected)
    assert ledger.leaks == []


def test_tasks_that_share_connections_keep_apart(
    attacked: Database, ledger: Ledger, expected: dict[tuple[str, str], int]
) -> None:
    """Thirty tasks of one loop on two connections, for two tenants and for nobody, give way at every statement."""
    census = text(CENSUS)

    async def work() -> list[tuple[UUID | None, list[Any]]]:
        engine = create_async_engine(attacked.app_url, pool_size=2, max_overflow=0)
        tenancy.install(engine.sync_engine)

        async def task(tenant: UUID | None) -> tuple[UUID | None, list[Any]]:
            with working_for(tenant):
                async with engine.connect() as connection:
                    await connection.execute(text("SELECT 1"))
                    await asyncio.sleep(0)
                    return tenant, [tuple(row) for row in await connection.execute(census)]

        found = await asyncio.gather(*(task((ATTACKER, VICTIM, None)[number % 3]) for number in range(30)))
        await engine.dispose()
        return list(found)

    for tenant, seen in asyncio.run(work()):
        tally(ledger, tenant, seen, expected)
    assert ledger.leaks == []
