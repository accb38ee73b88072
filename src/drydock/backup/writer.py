"""Whom rows are put back as: what their tables call on the way may have come with a stranger's dump."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from drydock import postgres
from drydock.backup import temporary_login
from drydock.backup.table_names import quoted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from drydock.environment import Environment
    from drydock.postgres import Connection

SUFFIX = "__writer"

_GRANTS = (
    "GRANT CONNECT ON DATABASE {database} TO {login}",
    "GRANT {owner} TO {login} WITH INHERIT TRUE, SET FALSE",
    "GRANT SET ON PARAMETER session_replication_role TO {login}",
)
# The tables, what they are partitions of, and what foreign keys lead from and to, as far as others own them.
_OTHERS = """WITH chosen AS (
        SELECT to_regclass(t)::oid AS relation FROM unnest(%(tables)s::text[]) t
        UNION SELECT a::oid FROM unnest(%(tables)s::text[]) t, pg_partition_ancestors(to_regclass(t)) a)
    SELECT FROM pg_class WHERE pg_get_userbyid(relowner) <> %(owner)s AND oid IN (TABLE chosen UNION
        SELECT unnest(ARRAY[conrelid, confrelid]) FROM pg_constraint
        WHERE contype = 'f' AND (conrelid IN (TABLE chosen) OR confrelid IN (TABLE chosen)))"""


@contextmanager
def session(environment: Environment, database: str, tables: Sequence[str]) -> Iterator[Connection]:
    """A connection that may replace the rows of these tables, triggers at rest and past row-level security.

    Where all tables concerned are the owner's it has the owner's rights: check constraints, domains, indexes of
    expressions and triggers that always fire call functions, which may do no more than that. Otherwise it is the
    superuser's.
    """
    name, owner = environment.settings.database + SUFFIX, environment.owner.name
    with postgres.administer(environment, database) as superuser:
        if superuser.execute(_OTHERS, {"tables": [quoted(table) for table in tables], "owner": owner}).rowcount:
            yield superuser
            return
        with (
            temporary_login.created(superuser, name, owner, _GRANTS) as role,
            postgres.connect(environment, role, database) as connection,
        ):
            yield connection
