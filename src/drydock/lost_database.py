"""The application's database gone from a cluster that had it: it comes back from the archive, and is not made anew."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drydock.errors import RefusedError

if TYPE_CHECKING:
    from drydock.environment import Environment
    from drydock.postgres import Connection

WAY_BACK = 'invoke restore --at "10 minutes ago"  (any moment when it was there; invoke destroy, then invoke up: anew)'


def gone(environment: Environment, connection: Connection) -> bool:
    """True where the cluster has had a database of the application's, and has none.

    What `up` records of the archiver and of the whole, it records once that database is there.
    """
    from drydock import postgres

    state = environment.state
    if not (state.part or state.runs) or postgres.exists(connection, environment.settings.database):
        return False
    return postgres.system_identifier(connection) == state.system_identifier


def kept(environment: Environment) -> bool:
    """True where the archive has a base backup of the cluster, which a restore can begin with. Only files are read."""
    from drydock.recovery.archive.folders import Archive
    from drydock.recovery.bases import base

    identifier = environment.state.system_identifier
    return bool(identifier and base.bases(Archive(environment.settings, identifier)))


def refusal(environment: Environment) -> RefusedError:
    """The refusal to seed a new one in its place."""
    return RefusedError(
        f"The database {environment.settings.database} is gone from this cluster, which had it before.", hint=WAY_BACK
    )
