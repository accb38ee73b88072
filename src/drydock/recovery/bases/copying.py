"""Taking a base backup: pg_basebackup copies the whole cluster while it is in use, packed as it comes."""

from __future__ import annotations

import secrets
import subprocess
import time
from contextlib import contextmanager, suppress
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from drydock.backup import encryption, packing, workspace
from drydock.fault_points import Point, reached
from drydock.files import sync_folder
from drydock.pipes import enlarge
from drydock.recovery.archive.catalogue import Catalogue
from drydock.recovery.bases import base_manifest, tablespaces
from drydock.recovery.bases.base import TAR, Base, archive_of
from drydock.recovery.bases.base_manifest import BaseManifest
from drydock.recovery.bases.base_tar import Looking
from drydock.recovery.wal.positions import format_lsn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime
    from pathlib import Path

    from drydock.backup.encryption import Sealing
    from drydock.backup.manifest import PackedFile
    from drydock.environment import Environment
    from drydock.postgres import Connection
    from drydock.recovery.archive.folders import Archive

    Progress = Callable[[str, int, int], None]

# What a restore must match or exceed (manual 27.4.3), and how the cluster is laid out.
SETTINGS = (
    "max_connections",
    "max_worker_processes",
    "max_wal_senders",
    "max_prepared_transactions",
    "max_locks_per_transaction",
    "track_commit_timestamp",
    "wal_level",
    "wal_segment_size",
    "block_size",
    "data_checksums",
    "shared_preload_libraries",
)
# --no-sync: what is packed is synced here. To stdout there is one tar, its manifest the last member. Its checksums are
# CRC-32C, as is the default: SHA-256 takes a server without OpenSSL three times as long as all the rest.
ARGUMENTS = ("--pgdata=-", "--format=tar", "--wal-method=fetch", "--checkpoint=fast", "--no-sync", "--no-password")
# Of zstd's own: the server has little to do but read. On two cores 1 GB takes three quarters of the time without.
THREADS = 2


def take(environment: Environment, *, reason: str, now: datetime, progress: Progress) -> Base:
    """Copy the whole cluster while it is in use, packed as it comes.

    Args:
        environment: whose server.
        reason: why, for those who ask later.
        now: the time that names it.
        progress: called with `bytes`, how many are done, and how many there are about.

    Raises:
        DrydockError: where the server, the disk or a setting does not allow it; nothing is left of it then.
        RefusedError: where the WAL is not archived, or the cluster has tablespaces of its own.
    """
    from drydock import postgres

    archive, sealing = archive_of(environment), encryption.sealing(environment.settings)
    encryption.check(sealing)
    begun = time.monotonic()
    with workspace.working_in(archive.bases) as folder, postgres.administer(environment) as connection:
        reached(Point.BASE_BEGUN)
        _refuse_tablespaces(connection)
        description = _describe(environment, connection)
        started, size = _clock(connection), _size(connection)
        with _keeping_wal(connection):
            target = folder / sealing.name(TAR)
            looking, packed = _stream(environment, target, sealing, lambda n: progress("bytes", n, max(n, size)))
        _refuse_tablespaces(connection)
        span = looking.span()
        reached(Point.BASE_WRITTEN)
        manifest = BaseManifest(
            **description,
            timeline=span.timeline,
            start=format_lsn(span.start),
            stop=format_lsn(span.stop),
            started=started,
            stopped=_clock(connection),
            reason=reason,
            files={sealing.name(TAR): packed},
            recipients=list(sealing.recipients),
            seconds=round(time.monotonic() - begun, 3),
        )
        return _name(archive, folder, manifest, now)


def _stream(
    environment: Environment, target: Path, sealing: Sealing, progress: Callable[[int], None]
) -> tuple[Looking, PackedFile]:
    from drydock.backup import pg_program

    process = environment.engine.run(
        "pg_basebackup", list(ARGUMENTS), role=environment.replication, stdout=subprocess.PIPE
    )
    with pg_program.ending(process):
        assert process.stdout is not None
        stream = cast("BinaryIO", process.stdout)
        enlarge(stream)
        looking = Looking(stream, progress)
        packed = packing.pack(cast("BinaryIO", looking), target, sealing, threads=THREADS)
        pg_program.follow(process, "pg_basebackup", lambda _line: None)
    return looking, packed


@contextmanager
def _keeping_wal(connection: Connection) -> Iterator[None]:
    """Keep the WAL from now on while the body runs: the archiver's slot lets go of what it has received."""
    name = f"drydock_base_{secrets.token_hex(4)}"
    connection.execute("SELECT pg_create_physical_replication_slot(%s, true, true)", (name,))
    try:
        yield
    finally:
        with suppress(Exception):  # a temporary slot ends with its session at the latest
            connection.execute("SELECT pg_drop_replication_slot(%s)", (name,))


def _refuse_tablespaces(connection: Connection) -> None:
    if problem := tablespaces.problem(str(name) for (name,) in connection.execute(tablespaces.QUERY)):
        raise problem


def _describe(environment: Environment, connection: Connection) -> dict[str, Any]:
    from drydock import postgres
    from drydock.backup import origin

    settings, state = environment.settings, environment.state
    rows = connection.execute("SELECT name, setting FROM pg_settings WHERE name = ANY(%s)", (list(SETTINGS),))
    effective = {str(name): str(value) for name, value in rows}
    with postgres.connect(environment, environment.superuser) as application:
        extensions = origin.extensions(application)
    roles = ("superuser", "owner", "app", "backup", "replication")
    return {
        "system_identifier": state.system_identifier,
        "incarnation": state.incarnation,
        "part": state.part,
        "tool": version("drydock"),
        "project": origin.project(environment),
        "checkout": state.checkout,
        "database": settings.database,
        "engine": state.engine,
        "runs": environment.engine.fingerprint(),
        "postgres": connection.info.parameter_status("server_version"),
        "postgres_number": connection.info.server_version,
        "extensions": extensions,
        "commit": origin.commit(settings.root),
        "roles": {name: getattr(environment, name).name for name in roles},
        "settings": effective,
    }


def _clock(connection: Connection) -> str:
    row: Any = connection.execute("SELECT clock_timestamp() AT TIME ZONE 'UTC'").fetchone()
    return f"{row[0].isoformat()}+00:00"


def _size(connection: Connection) -> int:
    row: Any = connection.execute("SELECT sum(pg_database_size(oid))::bigint FROM pg_database").fetchone()
    return int(row[0])


def _name(archive: Archive, folder: Path, manifest: BaseManifest, now: datetime) -> Base:
    """Write the description and give the folder its name."""
    with workspace.held(archive.bases, wait=True):
        stem = f"{now:%Y%m%dT%H%M%SZ}"
        names = (stem, *(f"{stem}-{n}" for n in range(2, 1000)))
        path = archive.bases / next(name for name in names if not (archive.bases / name).exists())
        written = base_manifest.write(manifest, folder)
        sync_folder(folder)
        reached(Point.BASE_DESCRIBED)
        folder.rename(path)
        sync_folder(archive.bases)
    reached(Point.BASE_NAMED)
    Catalogue(archive).enter_bases([path.name])
    return Base(path, written)
