"""The backups in a repository: how they are laid out there, and which are complete.

    files/NAME.HASH/dump/1.dat.zst            a file of up to PIECE bytes
    files/NAME.HASH/dump/2.dat.zst.part-00000 … a larger one, to be put together: cat 2.dat.zst.part-?????
    proofs/NAME.HASH.json                     that it was restored and compared
    manifests/NAME.json                       written last: a backup without it is not there

HASH is the beginning of the manifest's hash, so that two backups of one name never share a file.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from drydock.backup import choosing
from drydock.backup import manifest as manifests
from drydock.backup.catalogue import NAME
from drydock.backup.offsite.object_store import Repository, RepositoryError
from drydock.backup.offsite.together import together
from drydock.errors import DrydockError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

    from drydock.backup.catalogue import Entry
    from drydock.backup.manifest import Manifest
    from drydock.settings import Settings

# Part of the layout: every drydock must cut a file the same way.
PIECE = 8 << 20
MANIFESTS, PROOFS, FILES = "manifests/", "proofs/", "files/"


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A line of a listing: bytes, rows in all tables, and whether it was proven and is encrypted.

    `problem` says why it cannot be used, and nothing else is known of it then; otherwise it is empty.
    """

    name: str
    size: int = 0
    rows: int = 0
    proven: bool = False
    encrypted: bool = False
    revisions: list[str] = field(default_factory=list)
    problem: str = ""


@dataclass(frozen=True)
class Piece:
    """A range of one file of a backup, and the object that holds it."""

    object: str
    file: str
    offset: int
    size: int


class Remote:
    """The backups in one repository. Nobody's clock, and no object's age, decides what is there: the manifests do."""

    def __init__(self, repository: Repository) -> None:
        self.repository = repository

    @property
    def address(self) -> str:
        """Where it is."""
        return self.repository.address

    def names(self) -> list[str]:
        """Complete backups, newest first: a name begins with the time of its snapshot."""
        found = (PurePosixPath(path) for path in self.repository.objects(MANIFESTS))
        return sorted(
            (path.stem for path in found if path.suffix == ".json" and NAME.fullmatch(path.stem)), reverse=True
        )

    def find(self, wanted: str) -> str:
        """The name of the backup called `wanted`: its name, a beginning that only one has, its label, or `latest`.

        `latest` is the newest whole one; a partial one only where there is no other.

        Raises:
            DrydockError: where none or several fit, or what `latest` may mean is damaged.
        """
        names = self.names()
        if not names:
            raise DrydockError(f"There is no backup in {self.address}.", hint="invoke backup.push")
        if wanted == choosing.LATEST:
            return next((name for name in names if self._whole(name)), names[0])
        labels = {name: name[len("YYYYMMDDTHHMMSSZ-") :] for name in names}
        return choosing.named(wanted, labels, place=f" in {self.address}", listing="invoke backup.remote")

    def _whole(self, name: str) -> bool:
        try:
            found = self.document(name)
        except RepositoryError:
            raise
        except DrydockError:  # damaged: the listing says so
            return False
        return found is not None and not found.manifest.partial

    def listing(self) -> list[Listed]:
        """All complete backups with what their manifests say, newest first; damaged ones with their problem."""
        proofs = self.repository.objects(PROOFS)
        found = {item.name: item for item in together(lambda name: self._listed(name, proofs), self.names()) if item}
        return [found[name] for name in sorted(found, reverse=True)]

    def _listed(self, name: str, proofs: Container[str]) -> Listed | None:
        try:
            document = self.document(name)
        except RepositoryError:
            raise
        except DrydockError as error:
            return Listed(name=name, problem=error.message)
        if document is None:
            return None
        return Listed(
            name=name,
            size=document.manifest.size,
            rows=document.manifest.rows,
            proven=document.proof in proofs,
            encrypted=bool(document.manifest.recipients),
            revisions=document.manifest.revisions,
        )

    def document(self, name: str) -> Document | None:
        """The manifest of the backup `name`; None where there is none.

        Raises:
            DrydockError: where it is damaged, or would write outside of its folder.
        """
        data = self.repository.read(f"{MANIFESTS}{name}.json")
        if data is None:
            return None
        where = f"{self.address}/{MANIFESTS}{name}.json"
        found = Document(data, manifests.parse(data, where))
        for file in found.manifest.files:
            path = PurePosixPath(file)
            if path.is_absolute() or ".." in path.parts or str(path) != file:
                raise DrydockError(f"{where} is damaged: {file!r} cannot be the name of a file in a backup.")
        if found.manifest.name != name:
            raise DrydockError(f"{where} is damaged: it is the manifest of {found.manifest.name}.")
        return found


@dataclass(frozen=True)
class Document:
    """A `manifest.json` as it was written, whichever drydock wrote it, and what it says."""

    data: bytes
    manifest: Manifest

    @property
    def digest(self) -> str:
        """The hash that it carries of itself: which backup it is."""
        return str(json.loads(self.data)["sha256"])

    @property
    def proof(self) -> str:
        """The name of the object with its proof."""
        return f"{PROOFS}{self._stem}.json"

    @property
    def files(self) -> str:
        """What the names of the objects with its files begin with."""
        return f"{FILES}{self._stem}/"

    def pieces(self) -> Iterator[Piece]:
        """Every object that its files are in."""
        for file, packed in self.manifest.files.items():
            name = f"{self.files}{file}"
            if packed.size <= PIECE:
                yield Piece(name, file, 0, packed.size)
                continue
            for number, offset in enumerate(range(0, packed.size, PIECE)):
                yield Piece(f"{name}.part-{number:05d}", file, offset, min(PIECE, packed.size - offset))

    @property
    def _stem(self) -> str:
        return f"{self.manifest.name}.{self.digest[:12]}"


def read_document(entry: Entry) -> Document:
    """The manifest of a backup in the catalogue.

    Raises:
        DrydockError: where it cannot be used.
    """
    if entry.manifest is None:
        raise DrydockError(f"The backup {entry.name} cannot be used: {entry.problem}", hint="invoke backup.list")
    return Document((entry.path / manifests.FILE).read_bytes(), entry.manifest)


def open_remote(settings: Settings) -> Remote:
    """The repository of BACKUP_REPOSITORY.

    Raises:
        SettingsError: where none is set.
        DrydockError: where the obstore package is missing, or the address cannot be opened.
    """
    from drydock.settings import store_variables

    address = settings.backup_repository
    if not address:
        raise SettingsError(
            "No repository is set.",
            hint="Set BACKUP_REPOSITORY in .env, such as s3://bucket/folder or /mnt/share/backups.",
        )
    try:
        import obstore  # noqa: F401 - whether it is there
    except ImportError:
        raise DrydockError(
            "A repository needs obstore, which is not installed.", hint="pip install 'drydock[offsite]'"
        ) from None
    if "://" not in address:
        address = str(settings.root / Path(address).expanduser())
    return Remote(Repository(address, store_variables(settings)))
