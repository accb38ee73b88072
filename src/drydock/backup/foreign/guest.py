"""The role that a stranger's dump is loaded as: it can do as it likes in one database, and nothing anywhere else."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from drydock import postgres
from drydock.backup import temporary_login

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drydock.checkout import Role
    from drydock.environment import Environment

SUFFIX = "__guest"

# A login of its own, not SET ROLE: what a script may SET it may RESET. That row-level security does not bind it is for
# pg_dump's sake, which sets row_security off: a materialized view of an isolated table could not be filled otherwise.
_GRANTS = (
    "GRANT CONNECT, CREATE, TEMPORARY ON DATABASE {database} TO {login}",
    # What equip put there would be in the way of a dump that brings its own; it puts it back afterwards.
    "DROP SCHEMA IF EXISTS drydock CASCADE",
    "ALTER SCHEMA public OWNER TO {login}",
)


@contextmanager
def invited(environment: Environment, database: str) -> Iterator[Role]:
    """A role that may fill `database`; at the end all it made belongs to the environment's owner, and it is gone.

    It is a member of no role, so that neither other databases nor the server's files or settings are within its reach.
    """
    name, owner = environment.settings.database + SUFFIX, environment.owner.name
    with (
        postgres.administer(environment, database) as connection,
        temporary_login.created(connection, name, owner, _GRANTS) as role,
    ):
        yield role
