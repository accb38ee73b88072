"""Handing a restored database over: from the roles of the environment it was made in to those of this one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psycopg import sql

from drydock import postgres

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drydock.backup.manifest import Manifest
    from drydock.environment import Environment
    from drydock.postgres import Connection

    Successors = dict[str, str]

# What an owner holds of its own goes with the ownership. A procedure needs the modes of its arguments: by their types
# alone p(int, OUT int) and p(int, int) are one (LookupFuncWithArgs in parse_func.c).
_GRANTS = """
WITH held (kind, name, attribute, owner, acl) AS (
    SELECT CASE relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, oid::regclass::text, NULL, relowner, relacl
    FROM pg_class
    UNION ALL
    SELECT 'TABLE', c.oid::regclass::text, attname, relowner, attacl
    FROM pg_attribute JOIN pg_class c ON c.oid = attrelid WHERE NOT attisdropped
    UNION ALL
    SELECT 'SCHEMA', quote_ident(nspname), NULL, nspowner, nspacl FROM pg_namespace
    UNION ALL
    SELECT 'ROUTINE', CASE prokind
               WHEN 'p' THEN format('%%I.%%I(%%s)', nspname, proname, pg_get_function_identity_arguments(p.oid))
               ELSE p.oid::regprocedure::text END, NULL, proowner, proacl
    FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace
    UNION ALL
    SELECT 'TYPE', format('%%I.%%I', nspname, typname), NULL, typowner, typacl
    FROM pg_type JOIN pg_namespace n ON n.oid = typnamespace
    UNION ALL
    SELECT 'LANGUAGE', quote_ident(lanname), NULL, lanowner, lanacl FROM pg_language
    UNION ALL
    SELECT 'LARGE OBJECT', oid::text, NULL, lomowner, lomacl FROM pg_largeobject_metadata
    UNION ALL
    SELECT 'FOREIGN DATA WRAPPER', quote_ident(fdwname), NULL, fdwowner, fdwacl FROM pg_foreign_data_wrapper
    UNION ALL
    SELECT 'FOREIGN SERVER', quote_ident(srvname), NULL, srvowner, srvacl FROM pg_foreign_server
)
SELECT kind, name, attribute, rolname, is_grantable, array_agg(DISTINCT privilege_type)
FROM held, aclexplode(acl) JOIN pg_roles r ON r.oid = grantee
WHERE rolname = ANY (%(former)s) AND grantee <> owner
GROUP BY 1, 2, 3, 4, 5
"""
# Those of a schema add to what is given at creation anyway; those of no schema stand in its place, so that what they
# lack of it was revoked (manual 54.21).
_DEFAULTS = """
WITH given AS (
    SELECT d.oid, grantee, privilege_type, is_grantable FROM pg_default_acl d, aclexplode(defaclacl)
),
built_in AS (
    SELECT d.oid, grantee, privilege_type, is_grantable
    FROM pg_default_acl d,
         aclexplode(acldefault(CASE defaclobjtype WHEN 'S' THEN 's' ELSE defaclobjtype END, defaclrole))
    WHERE defaclnamespace = 0
),
changes AS (
    SELECT 'REVOKE' AS what, * FROM (TABLE built_in EXCEPT TABLE given) revoked
    UNION ALL
    SELECT 'GRANT', * FROM (TABLE given EXCEPT TABLE built_in) granted
)
SELECT what, pg_get_userbyid(defaclrole), nspname, defaclobjtype::text, privilege_type, rolname, is_grantable
FROM changes JOIN pg_default_acl d USING (oid)
LEFT JOIN pg_namespace n ON n.oid = defaclnamespace LEFT JOIN pg_roles r ON r.oid = grantee
ORDER BY what DESC
"""
_TO_COME = {"r": "TABLES", "S": "SEQUENCES", "f": "ROUTINES", "T": "TYPES", "n": "SCHEMAS"}
_POLICIES = """
SELECT polname, nspname, relname, ARRAY(SELECT pg_get_userbyid(role) FROM unnest(polroles) role)
FROM pg_policy JOIN pg_class c ON c.oid = polrelid JOIN pg_namespace n ON n.oid = relnamespace
WHERE EXISTS (SELECT FROM pg_roles WHERE oid = ANY (polroles) AND rolname = ANY (%(former)s))
"""
_SHARED = """
SELECT 'DATABASE', datname FROM pg_database WHERE datdba = quote_ident(%(former)s)::regrole
UNION ALL
SELECT 'TABLESPACE', spcname FROM pg_tablespace WHERE spcowner = quote_ident(%(former)s)::regrole
"""


def hand_over(environment: Environment, manifest: Manifest, database: str) -> None:
    """Let each role of this environment own and do in `database` what its predecessor did where it was backed up.

    Policies name the present role instead of the former; rights are added to the present one, and the former keeps its
    own: a role of its name may have another purpose on this server. All of it is one transaction, or none where the
    roles have the same names.
    """
    names = {which: getattr(environment, which).name for which in ("owner", "app", "backup")}
    former = {manifest.roles.get(which, name): name for which, name in names.items()}
    with postgres.administer(environment, database) as connection, connection.transaction():
        # An operator that fits better than the catalogue's own would run with our rights.
        connection.execute("SET LOCAL search_path = pg_catalog")
        there = connection.execute("SELECT rolname FROM pg_roles WHERE rolname = ANY (%s)", (list(former),))
        known = {str(name) for (name,) in there}
        successors = {name: present for name, present in former.items() if name != present and name in known}
        if successors:
            postgres.sign(connection, "restore")
            _carry_out(connection, successors, manifest.roles.get("owner", ""))
    postgres.equip(environment, database, task="restore")


def _carry_out(connection: Connection, successors: Successors, owner: str) -> None:
    # Read first: the new owner's own rights would pass for those of a former application role of its name.
    statements = [
        *_policies(connection, successors),
        *_grants(connection, successors),
        *_defaults(connection, successors),
    ]
    if owner in successors:
        statements = [*_reassignment(connection, owner, successors[owner]), *statements]
    if statements:
        connection.execute(sql.SQL("; ").join(statements))


def _reassignment(connection: Connection, former: str, present: str) -> Iterator[sql.Composed]:
    """Hand over what is in this database alone: REASSIGN OWNED takes databases and tablespaces along (manual 22.4)."""
    yield sql.SQL("REASSIGN OWNED BY {} TO {}").format(sql.Identifier(former), sql.Identifier(present))
    for kind, name in connection.execute(_SHARED, {"former": former}):
        yield sql.SQL("ALTER {} {} OWNER TO {}").format(
            sql.SQL(str(kind)), sql.Identifier(str(name)), sql.Identifier(former)
        )


def _policies(connection: Connection, successors: Successors) -> Iterator[sql.Composed]:
    rows: Any = connection.execute(_POLICIES, {"former": list(successors)})
    for name, schema, table, roles in rows:
        present = dict.fromkeys(successors.get(role, role) for role in roles)
        yield sql.SQL("ALTER POLICY {} ON {} TO {}").format(
            sql.Identifier(name), sql.Identifier(schema, table), sql.SQL(", ").join(map(sql.Identifier, present))
        )


def _grants(connection: Connection, successors: Successors) -> Iterator[sql.Composed]:
    rows: Any = connection.execute(_GRANTS, {"former": list(successors)})
    for kind, name, attribute, role, grantable, privileges in rows:
        column = sql.SQL(" ({})").format(sql.Identifier(attribute)) if attribute else sql.SQL("")
        yield sql.SQL("GRANT {} ON {} {} TO {}{}").format(
            sql.SQL(", ").join(sql.SQL(privilege) + column for privilege in privileges),
            sql.SQL(kind),
            sql.SQL(name),
            sql.Identifier(successors[role]),
            _option(grantable=grantable),
        )


def _defaults(connection: Connection, successors: Successors) -> Iterator[sql.Composed]:
    rows: Any = connection.execute(_DEFAULTS)
    for what, creator, schema, kind, privilege, role, grantable in rows:
        if creator not in successors and role not in successors:
            continue
        yield sql.SQL("ALTER DEFAULT PRIVILEGES FOR ROLE {} {} {} {} ON {} {} {}{}").format(
            sql.Identifier(successors.get(creator, creator)),
            sql.SQL("IN SCHEMA {}").format(sql.Identifier(schema)) if schema else sql.SQL(""),
            sql.SQL(what),
            sql.SQL(privilege),
            sql.SQL(_TO_COME[kind]),
            sql.SQL("TO" if what == "GRANT" else "FROM"),
            sql.Identifier(successors.get(role, role)) if role else sql.SQL("PUBLIC"),
            _option(grantable=grantable and what == "GRANT"),
        )


def _option(*, grantable: bool) -> sql.SQL:
    return sql.SQL(" WITH GRANT OPTION" if grantable else "")
