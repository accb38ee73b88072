"""An object store, as backups need it: the one module that knows the obstore library.

S3 and what is compatible with it, Google Cloud Storage, Azure Blob Storage, or a plain folder. An object is written
once, whole, and only where there is none of its name: mode "create" is `If-None-Match: *` on the stores that speak
HTTP, and link(2) in a folder. The library's multipart uploads take no such condition (apache/arrow-rs-object-store
issue 289), and a cut one leaves parts behind that nobody sees and somebody pays for: a large file is several objects
instead.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from drydock.backup.offsite.together import interruptible
from drydock.errors import DrydockError, SettingsError
from drydock.files import sync_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

CONNECT, IDLE, WHOLE = timedelta(seconds=10), timedelta(seconds=60), timedelta(minutes=10)
RETRIES = 5
KINDS = {"s3": "AWS_", "gs": "GOOGLE_", "az": "AZURE_"}
_MD5 = re.compile(r"[0-9a-f]{32}")
# Codes of S3 and Azure, and the statuses where there is no body to say more.
_DENIED = re.compile(r"SignatureDoesNotMatch|InvalidAccessKeyId|AccessDenied|Authentication\w*|40[13] \w+")
_NO_BUCKET = re.compile(r"NoSuchBucket|ContainerNotFound|specified bucket does not exist")
# What a folder's disk says; to run it again would change nothing.
_REFUSED = {
    os.strerror(errno.ENOSPC): "Make room there and run it again: what was sent stays.",
    os.strerror(errno.EDQUOT): "Make room there and run it again: what was sent stays.",
    os.strerror(errno.EROFS): "Mount it so that it can be written to, or correct BACKUP_REPOSITORY in .env.",
    os.strerror(errno.EACCES): "Have whoever owns it let you read and write there.",
    os.strerror(errno.EEXIST): "BACKUP_REPOSITORY in .env must name a folder.",
    os.strerror(errno.ENOTDIR): "BACKUP_REPOSITORY in .env must name a folder.",
}
_CUT = "Run it again: it goes on where it was cut."


class RepositoryError(DrydockError):
    """The repository as a whole cannot be used: what is true of one backup is true of all."""


class UnreachableError(RepositoryError):
    """The repository did not answer, the connection was lost, or its disk is read-only or full."""


@dataclass(frozen=True)
class Stored:
    """An object in the store: its size in bytes, and the store's tag for its content."""

    size: int
    tag: str

    def holds(self, data: bytes) -> bool:
        """True where the tag proves it: S3's is the content's MD5, but for objects encrypted with a key of KMS."""
        return self.size == len(data) and self.tag == hashlib.md5(data, usedforsecurity=False).hexdigest()


class Repository:
    """The objects below one address. Each name is written once; nothing is ever replaced or removed.

    A folder that does not exist has no objects; the first one makes it.

    Args:
        address: `s3://bucket/prefix`, `gs://…`, `az://container/prefix`, or a folder's path or file:// URL.
        variables: the store's own standard variables, such as AWS_ACCESS_KEY_ID.
    """

    def __init__(self, address: str, variables: Mapping[str, str]) -> None:
        self.address = address.rstrip("/") or "/"
        self._folder = None if address.partition("://")[0] in KINDS else _folder(address)
        with self._explained():
            self._store = self._open(variables)
            self._opened()

    def objects(self, prefix: str) -> dict[str, Stored]:
        """Every object whose name begins with the folder `prefix`, by name."""
        import obstore

        with self._explained():
            store = self._opened()
            if store is None:
                return {}
            pages = interruptible(lambda: list(obstore.list(store, prefix, chunk_size=1000)))
            return {meta["path"]: _stored(meta) for page in pages for meta in page}

    def head(self, name: str) -> Stored | None:
        """What is stored under `name`, or None."""
        import obstore

        with self._explained():
            store = self._opened()
            try:
                return _stored(interruptible(lambda: obstore.head(store, name))) if store else None
            except FileNotFoundError:
                return None

    def read(self, name: str) -> bytes | None:
        """The whole content of an object, or None where there is none."""
        import obstore

        with self._explained():
            store = self._opened()
            try:
                return interruptible(lambda: bytes(obstore.get(store, name).bytes())) if store else None
            except FileNotFoundError:
                return None

    def create(self, name: str, data: bytes) -> bool:
        """Write an object; False where one of that name exists already, which is left as it is."""
        import obstore
        from obstore.exceptions import AlreadyExistsError

        with self._explained():
            store = self._opened(make=True)
            try:
                interruptible(lambda: obstore.put(store, name, data, mode="create", use_multipart=False))
            except AlreadyExistsError:
                return False
            if self._folder:
                _settle(self._folder / name, self._folder)
        return True

    def _opened(self, *, make: bool = False) -> Any:
        """The store; None where it is a folder that does not exist, unless it is to be made."""
        from obstore import store

        if self._store is None and self._folder and (make or self._folder.exists()):
            self._store = store.LocalStore(self._folder, mkdir=True)
        return self._store

    def _open(self, variables: Mapping[str, str]) -> Any:
        from obstore import store

        if self._folder:
            if not self._folder.parent.is_dir():
                raise SettingsError(
                    f"BACKUP_REPOSITORY: there is no folder {self._folder.parent}.", hint="Is the drive mounted?"
                )
            return None
        kind = KINDS[self.address.partition("://")[0]]
        config = {name: value for name, value in variables.items() if name.startswith(kind)}
        plain = any(value.startswith("http://") for value in config.values())
        options: Any = {"connect_timeout": CONNECT, "read_timeout": IDLE, "timeout": WHOLE, "allow_http": plain}
        retry: Any = {"max_retries": RETRIES, "retry_timeout": timedelta(seconds=60)}
        return store.from_url(self.address, config=config, client_options=options, retry_config=retry)  # type: ignore[call-overload]

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """What the library raises, as a sentence."""
        from obstore.exceptions import BaseError

        try:
            yield
        except (BaseError, OSError) as error:
            raise self._explain(str(error)) from None

    def _explain(self, said: str) -> DrydockError:
        first = said.partition("Debug source")[0].strip()
        bucket = "/".join(self.address.split("/")[:3])
        if _NO_BUCKET.search(first):
            return RepositoryError(
                f"There is no {bucket}.", hint="Create it there, or correct BACKUP_REPOSITORY in .env."
            )
        if found := _DENIED.search(first):
            return RepositoryError(
                f"{bucket} refuses these credentials ({found[0]}).",
                hint="Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or what the store takes, in .env.",
            )
        if missing := re.search(r"error: (Missing \w+|\w+ must be specified)", first):
            return SettingsError(f"{bucket}: {missing[1]}.", hint="Set the store's variables in .env.")
        reason = re.sub(r"<\?xml.*", "", first, flags=re.DOTALL).strip(" \n:")
        hint = next((hint for words, hint in _REFUSED.items() if words in reason), _CUT)
        return UnreachableError(f"{self.address} could not be used: {reason}.", hint=hint)


def _folder(address: str) -> Path:
    """A path as it is written; a URL writes a space as %20."""
    return Path(unquote(address.removeprefix("file://")) if address.startswith("file://") else address)


def _stored(meta: Any) -> Stored:
    tag = (meta["e_tag"] or "").strip('"')
    return Stored(int(meta["size"]), tag if _MD5.fullmatch(tag) else "")


def _settle(path: Path, root: Path) -> None:
    """Put a file and the folders that name it on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    for folder in (path.parent, *(parent for parent in path.parent.parents if parent.is_relative_to(root))):
        sync_folder(folder)
