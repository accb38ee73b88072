"""A first start from a backup: a new developer begins with the team's data instead of the seeds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drydock import postgres, template
from drydock.backup import choosing, encryption, load, restore
from drydock.backup.catalogue import Catalogue
from drydock.errors import DrydockError, RefusedError

if TYPE_CHECKING:
    from drydock.backup.catalogue import Entry
    from drydock.console import Console
    from drydock.environment import Environment
    from drydock.settings import Settings

# Of nobody's extension, and not what every database of ours has from the start.
_RELATIONS = """SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'm', 'v', 'S') AND n.nspname NOT IN ('information_schema', 'drydock')
    AND n.nspname !~ '^pg_' AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')"""


def find(settings: Settings, wanted: str, console: Console) -> Entry:
    """The backup called `wanted`, fetched from the repository where this checkout has none; every file is checked.

    Raises:
        DrydockError: where there is none in either place, it is damaged, or the key to it is missing; and where
            `latest` finds no whole one: who begins with a part says so.
    """
    entry = _here(settings, wanted) or _fetch(settings, wanted, console)
    if wanted == choosing.LATEST and _partial(entry):
        raise DrydockError(
            f"There is no whole backup: the latest, {entry.name}, is of the schema alone or of single tables.",
            hint=f"invoke up --from-backup {entry.name}  begins with that all the same",
        )
    with console.phase("check the backup"):
        load.check_files(entry, encryption.sealing(settings))
    return entry


def refuse_where_data(environment: Environment, wanted: str) -> None:
    """Stop where the application's database has anything in it.

    Raises:
        RefusedError: naming the task that replaces what is there, and keeps it.
    """
    with postgres.administer(environment, environment.settings.database) as connection:
        found = connection.execute(_RELATIONS).rowcount
    if found:
        raise already(environment, wanted)


def already(environment: Environment, wanted: str) -> RefusedError:
    """The refusal to begin anew where somebody has begun already."""
    return RefusedError(
        f"The database {environment.settings.database} is not empty; --from-backup is for a first start.",
        hint=f"invoke restore {wanted}  (it keeps what it replaces)",
    )


def begin(environment: Environment, entry: Entry, console: Console) -> restore.Restored:
    """Restore into an environment that has no data yet. There is nothing to lose, so that nothing is asked.

    Raises:
        RefusedError: where there is data.
        DrydockError: where the backup does not restore; the environment is still without data then.
    """
    refuse_where_data(environment, entry.name)
    with console.phase("restore"), console.progress("restoring") as progress:
        dealings = restore.Dealings(lambda question: console.note(f"{question} Yes."), console.step, progress)
        result = restore.restore(environment, entry, dealings)
    # What it replaced was empty, and would be taken for a way back.
    with postgres.administer(environment) as connection:
        template.drop(connection, result.previous)
    result.previous = ""
    return result


def _here(settings: Settings, wanted: str) -> Entry | None:
    try:
        found = Catalogue(settings.backups / "dumps").find(wanted)
    except DrydockError:
        if not settings.backup_repository:
            raise
        return None
    whole_elsewhere = wanted == choosing.LATEST and _partial(found) and settings.backup_repository
    return None if whole_elsewhere else found


def _partial(entry: Entry) -> bool:
    return entry.manifest is not None and entry.manifest.partial


def _fetch(settings: Settings, wanted: str, console: Console) -> Entry:
    from drydock.backup.offsite.pull import pull
    from drydock.backup.offsite.remote import open_remote

    remote = open_remote(settings)
    with console.phase("fetch the backup"), console.progress("fetching", in_bytes=True) as progress:
        return pull(
            wanted, remote, Catalogue(settings.backups / "dumps"), lambda done, total: progress(wanted, done, total)
        ).entry
