"""Where a backup comes from: the server, the schema's revision, the project and its commit."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

from drydock import revisions
from drydock.settings import package_name

if TYPE_CHECKING:
    from pathlib import Path

    from drydock.environment import Environment
    from drydock.postgres import Connection

_DATABASE = """SELECT pg_encoding_to_char(encoding), datcollate, datctype, datlocprovider::text, daticulocale
    FROM pg_database WHERE datname = current_database()"""

# What only a superuser creates and anybody may own afterwards: functions in C, those that are trusted not to leak, and
# those with a setting that is the superuser's; aggregates with a state of type internal; families of operators. A range
# type's constructors are in C as well, and belong to the type.
_PRIVILEGED = """SELECT WHERE EXISTS (
    SELECT FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid = p.prolang
    WHERE p.oid >= 16384
      AND (p.proleakproof OR NOT l.lanpltrusted AND l.lanname <> 'sql' AND p.prokind <> 'a'
           OR EXISTS (SELECT FROM pg_catalog.unnest(p.proconfig) AS line JOIN pg_catalog.pg_settings AS g
                          ON g.name = pg_catalog.split_part(line, '=', 1) WHERE g.context = 'superuser')
           OR EXISTS (SELECT FROM pg_catalog.pg_aggregate AS a
                      WHERE a.aggfnoid = p.oid AND 'pg_catalog.internal'::regtype IN (a.aggtranstype, a.aggmtranstype)))
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                      WHERE d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.objid = p.oid
                        AND (d.deptype = 'e'
                             OR d.deptype = 'i' AND d.refclassid = 'pg_catalog.pg_type'::pg_catalog.regclass)))
  OR EXISTS (
    SELECT FROM pg_catalog.pg_opfamily f WHERE f.oid >= 16384
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                      WHERE d.classid = 'pg_catalog.pg_opfamily'::pg_catalog.regclass AND d.objid = f.oid
                        AND d.deptype = 'e'))"""


def describe(environment: Environment, connection: Connection) -> dict[str, Any]:
    """The fields of a manifest that say where it comes from."""
    settings, state = environment.settings, environment.state
    return {
        "project": project(environment),
        "checkout": state.checkout,
        "database": settings.database,
        "engine": state.engine,
        "runs": environment.engine.fingerprint(),
        "system_identifier": state.system_identifier,
        "postgres": connection.info.parameter_status("server_version"),
        "postgres_number": connection.info.server_version,
        "extensions": extensions(connection),
        "revisions": _revisions(environment, connection),
        "commit": commit(settings.root),
        "roles": {"owner": settings.owner, "app": settings.app_user, "backup": settings.backup_user},
        "owner_restores": connection.execute(_PRIVILEGED).rowcount == 0,
        "settings": _settings(connection),
    }


def project(environment: Environment) -> str:
    """The project's name: that of [tool.drydock], or the package's, or the folder's where it has neither.

    Colleagues call their folders as they like, and restore each other's backups.
    """
    settings = environment.settings
    return settings.project.name or package_name(settings.root) or settings.root.name


def extensions(connection: Connection) -> dict[str, str]:
    """Each installed extension's version."""
    rows = connection.execute("SELECT extname::text, extversion FROM pg_catalog.pg_extension ORDER BY 1")
    return {str(name): str(number) for name, number in rows}


def _revisions(environment: Environment, connection: Connection) -> list[str]:
    """The heads that the version table names, seen from where it is looked for usually."""
    connection.execute("SET LOCAL search_path = public")
    found = revisions.applied(environment.settings, connection)
    connection.execute("SET LOCAL search_path = pg_catalog")
    return found


def commit(root: Path) -> str:
    """The checked-out commit, with `+` where files differ from it; empty outside a repository, or without git."""
    try:
        head = _git(root, "rev-parse", "--short=12", "HEAD")
        return head and head + ("+" if _git(root, "status", "--porcelain", "--untracked-files=no") else "")
    except FileNotFoundError:
        return ""


def _git(root: Path, *words: str) -> str:
    result = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=False)
    return "" if result.returncode else result.stdout.strip()


def _settings(connection: Connection) -> dict[str, str]:
    row: Any = connection.execute(_DATABASE.replace("pg_database", "pg_catalog.pg_database")).fetchone()
    names = ("encoding", "collate", "ctype", "locale_provider", "icu_locale")
    return {name: str(value) for name, value in zip(names, row, strict=True) if value is not None}
