"""The roles of an environment and what they may do: what is missing is told by looking, so that nothing is done twice.

A GRANT that changes nothing is a transaction all the same, and would be one in the history of the data.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import TYPE_CHECKING

from psycopg import sql

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drydock.checkout import Role
    from drydock.environment import Environment
    from drydock.postgres import Connection

# What each role has beyond the right to log in. Row-level security binds a dump too: as the owner it fails, as any
# other role it is silently short.
_ATTRIBUTES = {"owner": set[str](), "app": set[str](), "backup": {"BYPASSRLS"}, "replication": {"REPLICATION"}}
_COLUMNS = {
    "LOGIN": "rolcanlogin",
    "SUPERUSER": "rolsuper",
    "CREATEDB": "rolcreatedb",
    "CREATEROLE": "rolcreaterole",
    "REPLICATION": "rolreplication",
    "BYPASSRLS": "rolbypassrls",
}
_READER = """SELECT EXISTS (SELECT FROM pg_auth_members AS m JOIN pg_roles AS r ON r.oid = m.member
                             WHERE m.roleid = 'pg_read_all_data'::regrole AND r.rolname = %(name)s),
                    EXISTS (SELECT FROM pg_db_role_setting AS s JOIN pg_roles AS r ON r.oid = s.setrole
                             WHERE s.setdatabase = 0 AND r.rolname = %(name)s
                               AND 'lo_compat_privileges=on' = ANY (s.setconfig))"""


def missing_roles(environment: Environment, connection: Connection) -> list[sql.Composed]:
    """The statements that give a server the environment's roles; none where it has them as they should be.

    Args:
        environment: whose roles.
        connection: as a superuser, to any database.
    """
    found: list[sql.Composed] = []
    for which, attributes in _ATTRIBUTES.items():
        found += _missing_role(connection, getattr(environment, which), {"LOGIN", *attributes})
    return [*found, *_missing_reading(connection, environment.backup)]


def _missing_role(connection: Connection, role: Role, attributes: set[str]) -> Iterator[sql.Composed]:
    query = sql.SQL("SELECT rolpassword, {} FROM pg_authid WHERE rolname = %s").format(
        sql.SQL(", ").join(map(sql.Identifier, _COLUMNS.values()))
    )
    row = connection.execute(query, (role.name,)).fetchone()
    has = {name for name, held in zip(_COLUMNS, row[1:], strict=True) if held} if row else set()
    if row and has == attributes and is_verifier(str(row[0] or ""), role.password):
        return
    words = " ".join(name if name in attributes else f"NO{name}" for name in _COLUMNS)
    # A verifier, computed here: the password itself never stands in a statement or in the server's log.
    verifier = connection.pgconn.encrypt_password(role.password.encode(), role.name.encode(), b"scram-sha-256").decode()
    yield sql.SQL("{} ROLE {} {} PASSWORD {}").format(
        sql.SQL("ALTER" if row else "CREATE"), sql.Identifier(role.name), sql.SQL(words), sql.Literal(verifier)
    )


def _missing_reading(connection: Connection, backup: Role) -> Iterator[sql.Composed]:
    """Tables and sequences come with a role of the server's; large objects with a setting (manual 20.13.1)."""
    row = connection.execute(_READER, {"name": backup.name}).fetchone()
    assert row is not None
    name = sql.Identifier(backup.name)
    if not row[0]:
        yield sql.SQL("GRANT pg_read_all_data TO {}").format(name)
    if not row[1]:
        yield sql.SQL("ALTER ROLE {} SET lo_compat_privileges = on").format(name)


def is_verifier(verifier: str, password: str) -> bool:
    """Whether a SCRAM-SHA-256 verifier, as in pg_authid, is one of a password of ASCII characters (RFC 5802, 3)."""
    try:
        kind, parameters, keys = verifier.split("$")
        rounds, salt = parameters.split(":")
        salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(salt), int(rounds))
        stored = base64.b64decode(keys.split(":")[0])
    except (ValueError, binascii.Error):
        return False
    key = hmac.digest(salted, b"Client Key", "sha256")
    return kind == "SCRAM-SHA-256" and hmac.compare_digest(hashlib.sha256(key).digest(), stored)


# What is granted in a database, a line each. Nothing is granted to PUBLIC where the database is closed.
_GRANTED = """
WITH granted AS (
    SELECT 'database' AS what, acl.grantee, acl.privilege_type AS may
      FROM pg_database, aclexplode(coalesce(datacl, acldefault('d', datdba))) AS acl
     WHERE datname = current_database()
    UNION ALL
    SELECT 'schema ' || nspname, acl.grantee, acl.privilege_type FROM pg_namespace, aclexplode(nspacl) AS acl
    UNION ALL
    SELECT 'facts', acl.grantee, acl.privilege_type FROM pg_class, aclexplode(relacl) AS acl
     WHERE pg_class.oid = to_regclass('drydock.facts')
    UNION ALL
    SELECT 'new ' || defaclobjtype::text, acl.grantee, acl.privilege_type
      FROM pg_default_acl, aclexplode(defaclacl) AS acl
     WHERE defaclnamespace = to_regnamespace('public') AND pg_get_userbyid(defaclrole) = %(owner)s
)
SELECT concat_ws(' ', what, 'to', rolname, may) FROM granted JOIN pg_roles ON pg_roles.oid = grantee
UNION ALL
SELECT 'database closed' WHERE NOT EXISTS (SELECT FROM granted WHERE what = 'database' AND grantee = 0)
UNION ALL
SELECT concat_ws(' ', 'schema', nspname, 'of', pg_get_userbyid(nspowner)) FROM pg_namespace
UNION ALL
SELECT 'schema ' || nspname FROM pg_namespace
UNION ALL
SELECT concat_ws(' ', 'facts of', pg_get_userbyid(relowner)) FROM pg_class WHERE oid = to_regclass('drydock.facts')
UNION ALL
SELECT 'facts' WHERE to_regclass('drydock.facts') IS NOT NULL
UNION ALL
SELECT 'extension ' || extname FROM pg_extension
"""
# What survives with the data (a clone or a dump takes it along) is recorded in the database, not in .drydock.
# By statement, what there is of _GRANTED once it was carried out.
_RIGHTS = {
    "REVOKE ALL ON DATABASE {database} FROM PUBLIC": ["database closed"],
    "GRANT CONNECT, TEMPORARY ON DATABASE {database} TO {app}": [
        "database to {app} CONNECT",
        "database to {app} TEMPORARY",
    ],
    "GRANT CONNECT ON DATABASE {database} TO {backup}": ["database to {backup} CONNECT"],
    "ALTER SCHEMA public OWNER TO {owner}": ["schema public of {owner}"],
    "GRANT USAGE ON SCHEMA public TO {app}": ["schema public to {app} USAGE"],
    "CREATE SCHEMA IF NOT EXISTS drydock AUTHORIZATION {owner}": ["schema drydock"],
    """CREATE TABLE IF NOT EXISTS drydock.facts
       (name text PRIMARY KEY, value text NOT NULL, noted timestamptz NOT NULL DEFAULT now())""": ["facts"],
    "ALTER TABLE drydock.facts OWNER TO {owner}": ["facts of {owner}"],
    "GRANT USAGE ON SCHEMA drydock TO {app}": ["schema drydock to {app} USAGE"],
    "GRANT SELECT ON drydock.facts TO {app}": ["facts to {app} SELECT"],
    """ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA public
       GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {app}""": [
        f"new r to {{app}} {may}" for may in ("SELECT", "INSERT", "UPDATE", "DELETE")
    ],
    "ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA public GRANT USAGE, SELECT ON SEQUENCES TO {app}": [
        "new S to {app} USAGE",
        "new S to {app} SELECT",
    ],
}


def missing_in_database(environment: Environment, connection: Connection, database: str) -> list[sql.Composed]:
    """The statements that give a database its extensions, the fact table, and the roles their rights; maybe none.

    Args:
        environment: whose roles and extensions.
        connection: as a superuser, to that database. Extensions are the superuser's to create: vector is not marked
            trusted (its control file).
        database: its name.
    """
    roles = {which: getattr(environment, which).name for which in ("owner", "app", "backup")}
    with connection.transaction():
        # A database that a stranger filled may have operators that fit better than the catalogue's own.
        connection.execute("SET LOCAL search_path = pg_catalog")
        there = {str(line) for (line,) in connection.execute(_GRANTED, {"owner": roles["owner"]})}
    names = {name: sql.Identifier(value) for name, value in {**roles, "database": database}.items()}
    extensions = [name for name in environment.settings.project.extensions if f"extension {name}" not in there]
    return [
        *(sql.SQL("CREATE EXTENSION IF NOT EXISTS {}").format(sql.Identifier(name)) for name in extensions),
        *(
            sql.SQL(statement).format(**names)
            for statement, lines in _RIGHTS.items()
            if not {line.format(**roles) for line in lines} <= there
        ),
    ]
