"""Encryption of backups with age: to public keys, so that making a backup needs no secret."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from drydock.errors import DamagedError, DrydockError, SettingsError, word
from drydock.files import others_can_read

if TYPE_CHECKING:
    from pathlib import Path

    from drydock.settings import Settings

SUFFIX = ".age"
HINT = "BACKUP_IDENTITY names the file of the private key; `invoke backup.keygen` made it."
# What age says where every part is sound, and only the key is another one's.
_NO_KEY_FITS = "No matching keys found"


@dataclass(frozen=True)
class Sealing:
    """Whom a backup's files are encrypted to, and what opens them.

    Attributes:
        recipients: public keys, age's or SSH's; empty: files are not encrypted.
        identity: file of the private key; None: encrypted files cannot be opened.
    """

    recipients: tuple[str, ...] = ()
    identity: Path | None = None

    @property
    def one_way(self) -> bool:
        """True where what is encrypted cannot be read here: making a backup needs no secret, proving it does."""
        return bool(self.recipients) and self.identity is None

    def name(self, name: str) -> str:
        """What a file called `name` is called when it is packed."""
        return name + SUFFIX if self.recipients else name


OPEN = Sealing()


def sealing(settings: Settings) -> Sealing:
    """What the settings say about encryption."""
    return Sealing(settings.backup_recipients, settings.identity)


def encrypt(source: BinaryIO, target: BinaryIO, sealing: Sealing) -> None:
    """Encrypt `source` to every recipient, in pieces: memory does not grow with the size.

    Raises:
        DrydockError: where the pyrage package is missing.
        SettingsError: where a recipient is no public key.
    """
    pyrage = _pyrage()
    keys = [_recipient(key) for key in sealing.recipients]
    reader, writer = _Remembering(source), _Remembering(target)
    try:
        pyrage.encrypt_io(reader, writer, keys)
    except (pyrage.EncryptError, OSError) as error:
        raise (reader.error or writer.error or error) from None


def decrypt(source: BinaryIO, target: BinaryIO, sealing: Sealing) -> None:
    """Decrypt `source`: what was written to `target` may be a part only, until this has returned.

    Raises:
        DrydockError: where pyrage or the identity is missing, or the identity is another one.
        DamagedError: where the content was altered or cut short.
    """
    pyrage = _pyrage()
    name = getattr(source, "name", "the file")
    if sealing.identity is None:
        raise DrydockError(f"{name} is encrypted, and no identity is set.", hint=HINT)
    keys = [read_identity(sealing.identity)]
    reader, writer = _Remembering(source), _Remembering(target)
    try:
        pyrage.decrypt_io(reader, writer, keys)
    except (pyrage.DecryptError, OSError) as error:
        if known := reader.error or writer.error:
            raise known from None
        if str(error) == _NO_KEY_FITS:
            raise DrydockError(
                f"{name} was not encrypted to the key in {sealing.identity}.",
                hint="Set BACKUP_IDENTITY to the key of one of the recipients that its manifest.json names.",
            ) from None
        raise DamagedError(
            f"{name} is damaged: it does not decrypt ({error}).", hint="invoke backup.list names the others."
        ) from None


def check(sealing: Sealing) -> None:
    """Find out before anything is dumped whether encrypting will work.

    Raises:
        DrydockError, SettingsError: as `encrypt`.
    """
    if sealing.recipients:
        _pyrage()
        for key in sealing.recipients:
            _recipient(key)


def check_identity(sealing: Sealing, recipients: list[str]) -> None:
    """Find out before anything is restored whether files encrypted to `recipients` can be decrypted at all.

    Raises:
        DrydockError: where pyrage is missing, or there is no readable identity.
    """
    if not recipients:
        return
    _pyrage()
    if sealing.identity is None:
        raise DrydockError(f"The backup is encrypted (to {', '.join(recipients)}), and no identity is set.", hint=HINT)
    read_identity(sealing.identity)


class _Remembering:
    """A stream that keeps its own exception: age wraps what its streams raise in errors of its own."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream
        self.error: BaseException | None = None

    def read(self, size: int = -1) -> bytes:
        try:
            return self.stream.read(size)
        except BaseException as error:
            self.error = error
            raise

    def write(self, data: bytes) -> int:
        try:
            return self.stream.write(data)
        except BaseException as error:
            self.error = error
            raise

    def flush(self) -> None:
        self.stream.flush()


def _pyrage() -> Any:
    try:
        import pyrage
    except ImportError:
        raise DrydockError(
            "Encrypted backups need pyrage, which is not installed.", hint="pip install 'drydock[encryption]'"
        ) from None
    return pyrage


def _recipient(text: str) -> Any:
    pyrage = _pyrage()
    kind = pyrage.ssh if text.startswith("ssh-") else pyrage.x25519
    try:
        return kind.Recipient.from_str(text)
    except pyrage.RecipientError as error:
        raise SettingsError(
            f"BACKUP_RECIPIENTS: {text!r} is not a public key ({error}).",
            hint="Copy the whole line that `invoke backup.keygen` or `age-keygen -y` printed.",
        ) from None


def read_identity(path: Path) -> Any:
    """The private key in a file as age-keygen or ssh-keygen writes it.

    Raises:
        DrydockError: where pyrage is missing, or the file cannot be used.
    """
    pyrage = _pyrage()
    try:
        text = path.read_bytes()
    except OSError as error:
        raise DrydockError(f"Cannot read the identity {path}: {error.strerror}.", hint=HINT) from None
    if others_can_read(path):
        raise DrydockError(f"Other users can read the identity {path}.", hint=f"chmod 600 {word(path)}")
    try:
        if text.startswith(b"-----BEGIN"):
            return pyrage.ssh.Identity.from_buffer(text)
        lines = [line.strip() for line in text.decode().splitlines()]
        return pyrage.x25519.Identity.from_str(next((line for line in lines if line and line[0] != "#"), ""))
    except (pyrage.IdentityError, UnicodeDecodeError) as error:
        raise DrydockError(
            f"{path} holds no private key that can be used ({error}).",
            hint="It takes the file of age-keygen, or an SSH key (ed25519, rsa) without a passphrase.",
        ) from None
