"""Everything `archive.verify` looks at: each cluster's archive, and with the server up what it has just written."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from drydock.backup import encryption
from drydock.errors import DrydockError
from drydock.recovery.archive import progress
from drydock.recovery.archive.folders import Archive, plain_name, system_identifiers
from drydock.recovery.bases import base, proof
from drydock.recovery.upkeep import audit, audit_records
from drydock.recovery.upkeep.audit_part import Finding
from drydock.recovery.wal.positions import parse_lsn

if TYPE_CHECKING:
    from collections.abc import Callable

    from drydock.environment import Environment
    from drydock.settings import Settings

GONE = "it is gone, and the WAL of this environment with it"
ENCRYPTED = f"*{encryption.SUFFIX}"


def inspect(settings: Settings, environment: Environment | None, report: Callable[[str], None]) -> list[Finding]:
    """Everything that is wrong with the archives in the backups folder; base backups that are unproven are proven.

    Args:
        settings: of the checkout.
        environment: whose engine has pg_waldump, and whose server is asked; None where there is none.
        report: takes a line per piece of work.
    """
    found = _gone(settings, environment)
    for identifier in system_identifiers(settings):
        archive, sealing = Archive(settings, identifier), encryption.sealing(settings)
        writing, received, problems = _server(settings, environment, archive)
        scope = audit.Scope(archive=archive, sealing=sealing, writing=writing, received=received)
        if environment:
            problems += _prove(environment, archive, report)
        problems += audit.audit(scope, report)
        if environment:
            report("every record of the WAL")
            problems += audit_records.problems(scope, environment.engine)
        found += problems
    return list({(one.where, one.what): one for one in found}.values())


def unread(settings: Settings, environment: Environment | None) -> list[str]:
    """What `inspect` cannot look into here, as clauses: encrypted files without the key, records without an engine."""
    archives = [Archive(settings, identifier) for identifier in system_identifiers(settings)]
    sealed = any(path for one in archives for path in (*one.folder.rglob(ENCRYPTED), *one.bases.rglob(ENCRYPTED)))
    missing = []
    if sealed and not settings.identity:
        missing.append("what is encrypted was compared with its hash alone: BACKUP_IDENTITY is not set")
        if any(map(_closed, archives)):
            missing.append("of which timeline a page must be was not asked where that timeline's history is encrypted")
    if archives and not environment:
        missing.append("the records of the WAL were not read one by one: that takes an environment (invoke up)")
    return missing


def _gone(settings: Settings, environment: Environment | None) -> list[Finding]:
    """The part that is being written, where nothing of it is there any more to look at."""
    if environment is None or not settings.archiving or not environment.state.part:
        return []
    folder = progress.missing_folder(environment)
    return [Finding(folder, GONE, "invoke up: it begins a new part")] if folder else []


def _closed(archive: Archive) -> bool:
    """Whether a history is there encrypted alone: the part being written has it plain as well."""
    found = archive.folder.glob(f"*/*.history{ENCRYPTED}")
    return any(not path.with_name(plain_name(path.name)).exists() for path in found)


def _server(settings: Settings, environment: Environment | None, archive: Archive) -> tuple[str, int, list[Finding]]:
    """The part of this archive that is being written, how far the server has written it, and what keeps it from it."""
    ours = environment and environment.state.system_identifier == archive.system_identifier
    if not environment or not ours or not settings.archiving or not environment.state.part:
        return "", 0, []
    from drydock import postgres, readiness

    part = environment.state.part
    if not readiness.postgres_up(environment).passed:
        return part, 0, []
    with postgres.administer(environment) as connection:
        connection.execute("SELECT pg_logical_emit_message(true, 'drydock', 'archive.verify')")
        row = connection.execute("SELECT pg_current_wal_flush_lsn()::text").fetchone()
        assert row is not None
    written = parse_lsn(str(row[0]))
    try:
        progress.wait_for(environment, written)
    except DrydockError as error:
        return part, 0, [Finding(str(archive.folder / part), error.message, error.hint)]
    return part, written, []


def _prove(environment: Environment, archive: Archive, report: Callable[[str], None]) -> list[Finding]:
    found = []
    for one in base.bases(archive):
        if one.proven or (one.manifest.recipients and not environment.settings.identity):
            continue
        report(f"proving {one.name}")
        try:
            proof.verify(environment, one, now=datetime.now(UTC))
        except DrydockError as error:
            found.append(Finding(str(one.path), error.message, error.hint))
    return found
