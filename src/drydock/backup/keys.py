"""The pair of keys that encrypts backups: made once, proven, and kept outside of what it protects."""

from __future__ import annotations

import io
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from drydock.backup.encryption import Sealing, decrypt, encrypt, read_identity
from drydock.errors import DrydockError, RefusedError
from drydock.files import sync_folder

if TYPE_CHECKING:
    from drydock.settings import Settings

SAMPLE = b"drydock reads back what it encrypts. "


def default_path(settings: Settings) -> Path:
    """Where a new private key goes: BACKUP_IDENTITY, or a file of the user's own, named after the project."""
    name = settings.project.name or settings.root.name
    return settings.identity or Path.home() / ".config" / "drydock" / f"{name}.age"


def make(settings: Settings, path: Path) -> tuple[str, bool]:
    """Make sure that `path` holds a private key that works; returns its public key, and True where it was made now.

    One that is there is never replaced: the backups encrypted to it would be lost.

    Raises:
        RefusedError: where the file would lie in the checkout.
        DrydockError: where pyrage is missing, or what is there is no private key of age's own.
    """
    if path.resolve().is_relative_to(settings.root.resolve()):
        raise RefusedError(
            f"{path} lies in the checkout: whoever gets the folder or its backups would get the key.",
            hint="Name a file elsewhere: invoke backup.keygen --path ~/.config/drydock/project.age",
        )
    made = not path.exists()
    if made:
        _write(path)
    recipient = public_key(path)
    _prove(Sealing((recipient,), path))
    return recipient, made


def public_key(path: Path) -> str:
    """The public key of the private key in `path`.

    Raises:
        DrydockError: where it is no private key of age's own.
    """
    identity = read_identity(path)
    if not hasattr(identity, "to_public"):
        raise DrydockError(f"{path} is an SSH key: its public key is in the .pub file beside it.")
    return str(identity.to_public())


def _write(path: Path) -> None:
    from pyrage import x25519

    key = x25519.Identity.generate()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    text = f"# created: {datetime.now(UTC).isoformat(timespec='seconds')}\n# public key: {key.to_public()}\n{key}\n"
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    sync_folder(path.parent)


def _prove(sealing: Sealing) -> None:
    """Encrypt, decrypt, compare."""
    sealed, opened = io.BytesIO(), io.BytesIO()
    encrypt(io.BytesIO(SAMPLE), sealed, sealing)
    decrypt(io.BytesIO(sealed.getvalue()), opened, sealing)
    if opened.getvalue() != SAMPLE or SAMPLE in sealed.getvalue():
        raise DrydockError(f"The key in {sealing.identity} does not read back what it encrypts.")
