"""Loading a backup of ours into an empty database, and comparing what came out with what went in."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, cast

from psycopg import sql
from psycopg.conninfo import make_conninfo

from drydock import postgres
from drydock.backup import catalogue, contents, encryption, packing, pg_program, vector_indexes, workspace
from drydock.backup.dump import CONTENTS, DUMP, GLOBALS
from drydock.backup.foreign import table_of_contents
from drydock.errors import DamagedError, DrydockError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from drydock.backup.catalogue import Entry
    from drydock.backup.encryption import Sealing
    from drydock.backup.foreign.table_of_contents import Item
    from drydock.backup.manifest import Manifest
    from drydock.checkout import Role
    from drydock.environment import Environment

    Progress = Callable[[str, int, int], None]

JOBS = 2
TOC, LIST = "toc.dat", "list"
SMALL = 32 << 20
# A load is as good as never done until it is compared and swapped in, so that its commits need not reach the disk one
# by one; index builds get the memory, which jobs share (POSTGRES_SHM holds both their graphs).
SESSION = "-c synchronous_commit=off -c maintenance_work_mem=384MB -c max_parallel_maintenance_workers=2"
_LOADED = re.compile(r"finished item \d+ (TABLE DATA|INDEX|CONSTRAINT|FK CONSTRAINT)\b")


@dataclass(frozen=True)
class Loaded:
    """How long loading and comparing took (seconds), and the roles that had to be created for it."""

    load_seconds: float
    compare_seconds: float
    created_roles: list[str]


def check_files(entry: Entry, sealing: Sealing) -> Manifest:
    """Read every file of a backup and compare it with the manifest, before anything is done with one.

    Raises:
        DamagedError: naming the file that is missing, cut short or altered; the backup is no longer proven then.
        DrydockError: naming the identity that is missing.
    """
    manifest = entry.manifest
    if manifest is None:
        raise DrydockError(f"The backup {entry.name} cannot be used: {entry.problem}", hint="invoke backup.list")
    with catalogue.proof_at_stake(entry):
        for name, expected in manifest.files.items():
            packing.verify(entry.path / name, expected)
    encryption.check_identity(sealing, manifest.recipients)
    return manifest


def load(environment: Environment, entry: Entry, database: str, progress: Progress) -> Loaded:
    """Create `database`, load the backup and compare everything in it with what the backup says it held.

    Raises:
        DrydockError: where a file is damaged, loading fails, or what came out differs; the database is then to be
            dropped.
        DamagedError: where the backup itself is why; it is no longer proven then.
    """
    sealing = encryption.sealing(environment.settings)
    manifest = check_files(entry, sealing)
    _refuse_newer(environment, entry, manifest)
    begun = time.monotonic()
    created = _ensure_roles(environment, _read(entry, manifest, GLOBALS, sealing))
    with postgres.administer(environment) as connection:
        postgres.create_empty(environment, connection, database)
    with workspace.working_in(environment.settings.folder) as folder:
        _unpack(entry, manifest, folder, sealing)
        _restore(environment, manifest, folder, database, progress)
    loaded = time.monotonic()
    with catalogue.proof_at_stake(entry):
        compare(environment, entry, database)
    return Loaded(round(loaded - begun, 3), round(time.monotonic() - loaded, 3), created)


def compare(environment: Environment, entry: Entry, database: str) -> None:
    """Compare a loaded database with what its backup says.

    Raises:
        DamagedError: naming the first differences.
    """
    manifest = entry.manifest
    assert manifest is not None
    sealing = encryption.sealing(environment.settings)
    document = json.loads(_read(entry, manifest, CONTENTS, sealing))
    high, low = (_positions(document[key]) for key in ("sequences", "sequences_before"))
    with postgres.administer(environment, database) as connection:
        contents.prepare(connection)
        views = contents.view_names(connection)  # which an earlier drydock has summed up as well
        tables = {name: content for name, content in manifest.tables.items() if name not in views}
        found = contents.take(connection, only=tables)
    expected = contents.Contents(tables, high, document["definitions"])
    lines = contents.differences(expected, found, low=low)
    if lines:
        more = f" and {len(lines) - 3} more" if len(lines) > 3 else ""  # noqa: PLR2004 - as many as a sentence bears
        raise DamagedError(
            f"What {entry.name} restores to is not what was backed up: {'; '.join(lines[:3])}{more}.",
            hint="Use another backup: invoke backup.list",
        )


def _positions(document: dict[str, list[int]]) -> dict[str, tuple[int, bool]]:
    return {name: (int(value), bool(called)) for name, (value, called) in document.items()}


def _refuse_newer(environment: Environment, entry: Entry, manifest: Manifest) -> None:
    with postgres.administer(environment) as connection:
        here = connection.info.server_version
        known = {str(name) for (name,) in connection.execute("SELECT name FROM pg_available_extensions")}
    if manifest.postgres_number // 10000 > here // 10000:
        raise DrydockError(
            f"{entry.name} is of Postgres {manifest.postgres}; the server here is {here // 10000}.{here % 10000}.",
            hint="Set POSTGRES_IMAGE in .env to an image of that version.",
        )
    missing = sorted(manifest.extensions.keys() - known)
    if missing:
        raise DrydockError(
            f"{entry.name} needs the extension {', '.join(missing)}, which the server here does not have.",
            hint="Restore it where the server has it: POSTGRES_IMAGE in .env, or ENGINE=docker.",
        )


@contextmanager
def unpacked(entry: Entry, manifest: Manifest, name: str, sealing: Sealing) -> Iterator[BinaryIO]:
    """One file of a backup, unpacked: in memory where it is small, else in a file that nobody else sees.

    Raises:
        DrydockError: where it is damaged or cannot be decrypted.
    """
    name = sealed_name(manifest, name)
    with tempfile.SpooledTemporaryFile(max_size=SMALL) as stream:
        packing.unpack(entry.path / name, cast("BinaryIO", stream), manifest.files[name], sealing)
        stream.seek(0)
        yield cast("BinaryIO", stream)


def sealed_name(manifest: Manifest, name: str) -> str:
    """What the file `name` is called in this backup, encrypted or not."""
    return next(known for known in manifest.files if known.removesuffix(encryption.SUFFIX) == name)


def _read(entry: Entry, manifest: Manifest, name: str, sealing: Sealing) -> str:
    with unpacked(entry, manifest, name, sealing) as stream:
        return stream.read().decode()


def _unpack(entry: Entry, manifest: Manifest, folder: Path, sealing: Sealing) -> None:
    """Make of the packed files the directory that pg_restore reads, in `folder`."""
    (folder / DUMP).mkdir(mode=0o700)
    for name, expected in manifest.files.items():
        if name.startswith(f"{DUMP}/"):
            plain = name.removesuffix(encryption.SUFFIX).removesuffix(packing.SUFFIX)
            packing.unpack_file(entry.path / name, folder / plain, expected, sealing)


def _restore(environment: Environment, manifest: Manifest, folder: Path, database: str, progress: Progress) -> None:
    """Run pg_restore, as the owner where all of it is the owner's: functions of the dump run with its rights then.

    A check constraint calls functions as rows come in, and a dump that was taken in may have brought both.
    """
    done = 0

    def each(line: str) -> None:
        nonlocal done
        if _LOADED.search(line):
            done += 1
            progress("objects", done, max(done, len(manifest.tables)))

    items, owner = table_of_contents.read((folder / DUMP / TOC).read_bytes()), environment.owner
    its_own = manifest.roles.get("owner") == owner.name and table_of_contents.belongs_to(items, owner.name)
    role, single = (owner, items) if its_own and manifest.owner_restores else (environment.superuser, [])
    schemas = [item for item in single if item.of_schema]
    extensions = [item for item in single if item.of_extension]
    indexes = vector_indexes.among(single)
    policies = [item for item in items if item.of_row_security]
    with postgres.connect(environment, role, database) as connection:
        # As pg_restore has it: every name in the dump says its schema.
        connection.execute("SELECT set_config('search_path', '', false), set_config('statement_timeout', '0', false)")
        _execute(connection, schemas)
        # The superuser's to create. Schemas alone are nothing that their scripts could call (manual 38.17.6.2).
        with postgres.administer(environment, database) as superuser:
            _execute(superuser, extensions)
        apart = {item.number for item in (*schemas, *extensions, *indexes, *policies)}
        listing = table_of_contents.listing(item for item in items if item.number not in apart)
        (folder / LIST).write_text(listing, encoding="utf-8")
        _run(environment.engine.run, role, folder, database, each, f"--use-list={LIST}")
        vector_indexes.build(environment, connection, indexes, lambda: each("finished item 0 INDEX"))
        # Forced row-level security binds the owner: foreign keys would be checked, and materialized views filled, by
        # what it shows; and pg_restore, which wants all rows, is refused.
        _execute(connection, policies)


def _execute(connection: postgres.Connection, items: Iterable[Item]) -> None:
    for item in items:
        connection.execute(item.definition.encode())


def _run(
    start: Callable[..., subprocess.Popen[bytes]],
    role: Role,
    folder: Path,
    database: str,
    each: Callable[[str], None],
    *options: str,
) -> None:
    arguments = [
        "--format=directory",
        f"--jobs={JOBS}",
        "--exit-on-error",
        "--verbose",
        *options,
        f"--dbname={make_conninfo(dbname=database, options=SESSION)}",
        DUMP,
    ]
    process = start("pg_restore", arguments, role=role, folder=folder, stdout=subprocess.DEVNULL)
    with pg_program.ending(process):
        pg_program.follow(process, "pg_restore", each)


def _ensure_roles(environment: Environment, statements: str) -> list[str]:
    """Create the roles that the dump's objects belong to and this server lacks; they cannot log in. Returns them."""
    wanted = list(_role_names(statements))
    with postgres.administer(environment) as connection:
        known = {str(name) for (name,) in connection.execute("SELECT rolname FROM pg_roles")}
        missing = [name for name in wanted if name not in known]
        for name in missing:
            connection.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(sql.Identifier(name)))
    return missing


def _role_names(statements: str) -> Iterator[str]:
    """The roles that pg_dumpall's SQL creates."""
    for name in re.findall(r'^CREATE ROLE ("(?:[^"]|"")+"|\w+);$', statements, re.MULTILINE):
        yield name[1:-1].replace('""', '"') if name.startswith('"') else name
