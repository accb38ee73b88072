"""The manifest of a backup: what is in it, what it was made from, and the hash of every file."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from drydock import hashed_json
from drydock.errors import DrydockError
from drydock.files import write_atomic

if TYPE_CHECKING:
    from pathlib import Path

FORMAT = 1
FILE = "manifest.json"


@dataclass(frozen=True, kw_only=True)
class PackedFile:
    """One file of a backup: its size and hash on disk, and how large it is unpacked (bytes)."""

    size: int
    sha256: str
    unpacked: int


@dataclass(frozen=True, kw_only=True)
class TableContent:
    """What a table held in the dump's snapshot: rows, and a checksum that does not depend on their order.

    `checksum` is empty where none was taken.
    """

    rows: int
    checksum: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What one backup says of itself; never changed once it is written.

    Attributes:
        name: of the folder.
        sequence: one more than the highest there was; orders backups of one origin whatever the clock said.
        made: when the snapshot was taken, UTC, ISO 8601.
        label: the user's word for it; may be empty.
        tool: drydock's version.
        project: of [tool.drydock], or the checkout's folder.
        checkout: identity of the environment it was made in.
        database: the database that was dumped.
        engine: docker or embedded.
        runs: identity of the image or wheel that ran the server.
        system_identifier: of the cluster.
        postgres: server_version, such as 16.14.
        postgres_number: server_version_num, such as 160014.
        extensions: version by extension.
        revisions: heads recorded in the version table.
        commit: of git, with `+` where the work tree had changes; empty outside a repository.
        roles: names of the owner, app and backup roles.
        owner_restores: False where the owner's objects need a superuser to create them; None where nobody looked.
        settings: the database's encoding, locale and what else a restore should find alike.
        schema_only: no rows were dumped.
        tables_only: the tables whose rows were dumped; empty for all.
        database_size: bytes on the server.
        tables: rows and checksum by qualified table name, in the dump's snapshot.
        files: every file of the backup but the manifest, by path below its folder.
        recipients: age recipients the files are encrypted to; empty where they are not.
        redis_keys: keys saved beside it; None where Redis was not.
        seconds: how long each step took.
        identity: the hash that `manifest.json` carries; empty before it is written.
    """

    name: str
    sequence: int
    made: str
    label: str = ""
    tool: str = ""
    project: str = ""
    checkout: str = ""
    database: str = ""
    engine: str = ""
    runs: str = ""
    system_identifier: str = ""
    postgres: str = ""
    postgres_number: int = 0
    extensions: dict[str, str] = field(default_factory=dict)
    revisions: list[str] = field(default_factory=list)
    commit: str = ""
    roles: dict[str, str] = field(default_factory=dict)
    owner_restores: bool | None = None
    settings: dict[str, str] = field(default_factory=dict)
    schema_only: bool = False
    tables_only: list[str] = field(default_factory=list)
    database_size: int = 0
    tables: dict[str, TableContent] = field(default_factory=dict)
    files: dict[str, PackedFile] = field(default_factory=dict)
    recipients: list[str] = field(default_factory=list)
    redis_keys: int | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    format: int = FORMAT
    identity: str = ""

    @property
    def size(self) -> int:
        """Bytes on disk, the manifest aside."""
        return sum(file.size for file in self.files.values())

    @property
    def rows(self) -> int:
        """Rows in all tables."""
        return sum(table.rows for table in self.tables.values())

    @property
    def origin(self) -> tuple[str, str, str]:
        """The database it is of, in its checkout and project: within one, sequence numbers tell what is newer."""
        return (self.project, self.checkout, self.database)

    @property
    def partial(self) -> bool:
        """True where it is of the schema alone, or of some tables' rows."""
        return self.schema_only or bool(self.tables_only)

    @property
    def moment(self) -> datetime:
        """When the snapshot was taken.

        Raises:
            ValueError: where `made` is no time.
        """
        found = datetime.fromisoformat(self.made)
        return found if found.tzinfo else found.replace(tzinfo=UTC)


_KNOWN = frozenset(one.name for one in fields(Manifest))
_HINT = "invoke backup.list"


def write(manifest: Manifest, folder: Path) -> None:
    """Write `manifest.json`, with a hash of itself."""
    write_atomic(folder / FILE, hashed_json.text(document_of(manifest)))


def read(folder: Path) -> Manifest:
    """The manifest of the backup in `folder`.

    Raises:
        DrydockError: where it is missing, damaged or of a newer drydock.
    """
    path = folder / FILE
    try:
        return parse(path.read_bytes(), str(path))
    except FileNotFoundError:
        raise DrydockError(f"{folder.name} has no {FILE}: it is not a backup.") from None


def parse(data: bytes, where: str) -> Manifest:
    """The manifest in the content of a `manifest.json` found at `where`. Fields it lacks take their defaults.

    Raises:
        DrydockError: where it is damaged or of a newer drydock.
    """
    document, identity = hashed_json.parse(data, where, newest=FORMAT, hint=_HINT)
    values = {key: value for key, value in document.items() if key in _KNOWN}
    try:
        values["tables"] = {name: TableContent(**table) for name, table in values.get("tables", {}).items()}
        values["files"] = {name: PackedFile(**file) for name, file in values.get("files", {}).items()}
        return Manifest(**{**values, "identity": identity})
    except (TypeError, AttributeError) as error:
        raise hashed_json.damaged(where, str(error), _HINT) from error


def digest(manifest: Manifest) -> str:
    """The hash that `manifest.json` carries: the identity of a backup's content."""
    # As it was written, where it was: fields that a later drydock knows are not in it.
    return manifest.identity or hashed_json.digest(document_of(manifest))


def document_of(manifest: Manifest) -> dict[str, Any]:
    """What stands in `manifest.json`, but for its hash."""
    return {name: value for name, value in asdict(manifest).items() if name != "identity"}
