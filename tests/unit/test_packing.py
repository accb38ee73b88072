from __future__ import annotations

import io
import os
import subprocess
import sys
from typing import TYPE_CHECKING, cast

import pyrage
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from drydock.backup import encryption
from drydock.backup.encryption import OPEN, Sealing
from drydock.backup.packing import pack, unpack, unpack_file
from drydock.errors import DrydockError, SettingsError

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

    from drydock.backup.manifest import PackedFile

NOISE = os.urandom(200_000)
NAMES = ("t.dat", "t.dat.zst")


@pytest.fixture
def sealing(tmp_path: Path) -> Sealing:
    """A fresh pair of keys, the private one in a file."""
    return _sealing(tmp_path / "key.age")


def _sealing(path: Path) -> Sealing:
    identity = pyrage.x25519.Identity.generate()
    path.write_text(f"# created by a test\n{identity}\n")
    path.chmod(0o600)
    return Sealing((str(identity.to_public()),), path)


def _opened(path: Path, packed: PackedFile, sealing: Sealing = OPEN) -> bytes:
    target = io.BytesIO()
    unpack(path, target, packed, sealing)
    return target.getvalue()


def _forged(path: Path, packed: PackedFile, content: bytes) -> PackedFile:
    """The file replaced, and the manifest's entry made to fit it: only age can tell."""
    from hashlib import sha256

    path.write_bytes(content)
    return type(packed)(size=len(content), sha256=sha256(content).hexdigest(), unpacked=packed.unpacked)


@given(content=st.binary(max_size=300_000), name=st.sampled_from(NAMES), encrypted=st.booleans())
@example(content=b"", name="t.dat.zst", encrypted=True)
@example(content=b"x" * 65536, name="t.dat", encrypted=True)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_packed_comes_back(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, name: str, *, encrypted: bool
) -> None:
    """Any content comes back byte for byte, compressed or not, encrypted or not; the file is private."""
    folder = tmp_path_factory.mktemp("packed")
    keys = _sealing(folder / "key.age") if encrypted else OPEN
    path = folder / keys.name(name)
    packed = pack(io.BytesIO(content), path, keys)
    assert (packed.size, packed.unpacked, path.stat().st_mode & 0o777) == (path.stat().st_size, len(content), 0o600)
    assert _opened(path, packed, keys) == content


def test_a_name_that_says_otherwise_is_not_written(tmp_path: Path, sealing: Sealing) -> None:
    """A file without .age is never made where backups are to be encrypted, nor the other way round."""
    with pytest.raises(ValueError, match=r"t\.zst"):
        pack(io.BytesIO(b"rows"), tmp_path / "t.zst", sealing)
    with pytest.raises(ValueError, match=r"t\.zst\.age"):
        pack(io.BytesIO(b"rows"), tmp_path / "t.zst.age")
    assert not list(tmp_path.glob("t.*"))


def test_plaintext_is_nowhere_in_an_encrypted_file(tmp_path: Path, sealing: Sealing) -> None:
    """What is on disk does not contain what was packed."""
    path = tmp_path / "t.dat.age"
    pack(io.BytesIO(b"a secret row" * 1000), path, sealing)
    assert b"secret row" not in path.read_bytes()


def test_the_age_program_s_own_format_is_written(tmp_path: Path, sealing: Sealing) -> None:
    """Any age implementation can open the files: they begin as age's specification says, one stanza a recipient."""
    other = _sealing(tmp_path / "other.age")
    both = Sealing(sealing.recipients + other.recipients, None)
    path = tmp_path / "t.dat.age"
    packed = pack(io.BytesIO(b"rows"), path, both)
    assert path.read_bytes().startswith(b"age-encryption.org/v1\n-> X25519 ")
    assert _opened(path, packed, sealing) == _opened(path, packed, other) == b"rows"


def test_ssh_keys_serve_as_well(tmp_path: Path) -> None:
    """A file encrypted to an SSH public key opens with the SSH private key."""
    key = tmp_path / "id_ed25519"
    _ssh_key(key)
    keys = Sealing((" ".join(key.with_suffix(".pub").read_text().split()[:2]),), key)
    path = tmp_path / "t.dat.age"
    assert _opened(path, pack(io.BytesIO(b"rows"), path, keys), keys) == b"rows"


def _ssh_key(path: Path) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    how = serialization.NoEncryption()
    openssh = serialization.PrivateFormat.OpenSSH
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, openssh, how))
    path.chmod(0o600)
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    path.with_suffix(".pub").write_bytes(public + b" somebody@laptop\n")


@pytest.mark.parametrize("name", ["t.dat", "t.dat.zst", "t.dat.age", "t.dat.zst.age"])
def test_every_changed_bit_and_every_cut_is_found(tmp_path: Path, sealing: Sealing, name: str) -> None:
    """A flipped bit anywhere and a file cut anywhere are one clear error."""
    keys = sealing if name.endswith(".age") else OPEN
    path = tmp_path / name
    packed = pack(io.BytesIO(NOISE), path, keys)
    sound = path.read_bytes()
    for place in range(3, len(sound), len(sound) // 25):
        changed = bytearray(sound)
        changed[place] ^= 1 << place % 8
        for content in (bytes(changed), sound[:place]):
            path.write_bytes(content)
            with pytest.raises(DrydockError, match="is damaged"):
                _opened(path, packed, keys)


@pytest.mark.parametrize("kept", [0, 10, 250, 65_536 + 250, 131_072 + 200, -1])
def test_age_finds_what_the_manifest_would_not(tmp_path: Path, sealing: Sealing, kept: int) -> None:
    """A file cut, or altered, together with its hash in the manifest is found by age, and leaves no file behind."""
    path = tmp_path / "t.dat.age"
    packed = pack(io.BytesIO(NOISE), path, sealing)
    forged = _forged(path, packed, path.read_bytes()[:kept])
    with pytest.raises(DrydockError, match="does not decrypt"):
        unpack_file(path, tmp_path / "t.dat", forged, sealing)
    changed = bytearray(path.read_bytes() + b"\0" * 300)
    changed[kept] ^= 1
    forged = _forged(path, packed, bytes(changed))
    with pytest.raises(DrydockError, match="does not decrypt"):
        unpack_file(path, tmp_path / "t.dat", forged, sealing)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["key.age", "t.dat.age"]


def test_a_file_appears_only_whole(tmp_path: Path, sealing: Sealing) -> None:
    """`unpack_file` leaves the whole content under the final name, private, and over what a kill left behind."""
    path, target = tmp_path / "t.dat.zst.age", tmp_path / "t.dat"
    packed = pack(io.BytesIO(b"rows" * 100_000), path, sealing)
    (tmp_path / ".t.dat.part").write_text("left by a kill")
    unpack_file(path, target, packed, sealing)
    assert (target.read_bytes(), target.stat().st_mode & 0o777) == (b"rows" * 100_000, 0o600)
    assert not list(tmp_path.glob(".*"))


def test_another_key_opens_nothing(tmp_path: Path, sealing: Sealing) -> None:
    """With somebody else's key the sentence says so, and nothing is written."""
    path = tmp_path / "t.dat.age"
    packed = pack(io.BytesIO(b"rows"), path, sealing)
    other = _sealing(tmp_path / "other.age")
    with pytest.raises(DrydockError, match=r"was not encrypted to the key in .*other\.age") as caught:
        unpack_file(path, tmp_path / "t.dat", packed, other)
    assert "BACKUP_IDENTITY" in caught.value.hint
    assert not (tmp_path / "t.dat").exists()


@pytest.mark.parametrize(
    ("content", "mode", "said"),
    [
        (None, 0o600, "Cannot read the identity .*: No such file"),
        (b"", 0o600, "holds no private key"),
        (b"# only a comment\n", 0o600, "holds no private key"),
        (b"AGE-SECRET-KEY-1QQQQ\n", 0o600, "holds no private key"),
        (b"\xff\xfe\x00", 0o600, "holds no private key"),
        (b"-----BEGIN OPENSSH PRIVATE KEY-----\nnonsense\n", 0o600, "holds no private key"),
        (b"age1lggyhqrw2nlhcxprm67z43rta597azn8gknawjehu9d9dl0jq3yqqvfafg\n", 0o600, "holds no private key"),
        (b"# anything", 0o644, "Other users can read the identity"),
    ],
)
def test_a_bad_identity_is_one_sentence(
    tmp_path: Path, sealing: Sealing, content: bytes | None, mode: int, said: str
) -> None:
    """An identity that is missing, open to others or no private key: what is wrong, and what to do; never the key."""
    path = tmp_path / "bad.age"
    if content is not None:
        path.write_bytes(content)
        path.chmod(mode)
    with pytest.raises(DrydockError, match=said) as caught:
        encryption.check_identity(Sealing((), path), list(sealing.recipients))
    assert caught.value.hint
    assert "SECRET" not in str(caught.value)


def test_no_identity_at_all_is_one_sentence(tmp_path: Path, sealing: Sealing) -> None:
    """Without BACKUP_IDENTITY an encrypted file is refused by name; an open one needs none."""
    path = tmp_path / "t.dat.age"
    packed = pack(io.BytesIO(b"rows"), path, sealing)
    with pytest.raises(DrydockError, match=r"t\.dat\.age is encrypted, and no identity is set"):
        _opened(path, packed)
    with pytest.raises(DrydockError, match="and no identity is set"):
        encryption.check_identity(OPEN, list(sealing.recipients))
    encryption.check_identity(OPEN, [])


def test_a_recipient_with_a_typing_error_is_found_before_anything_is_dumped(sealing: Sealing) -> None:
    """Age's own checksum finds a wrong letter in a public key."""
    typo = sealing.recipients[0][:-1] + ("q" if sealing.recipients[0][-1] != "q" else "p")
    with pytest.raises(SettingsError, match=f"{typo}.* is not a public key"):
        encryption.check(Sealing((typo,)))
    encryption.check(sealing)
    encryption.check(OPEN)


def test_without_pyrage_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sealing: Sealing) -> None:
    """A missing package is one sentence with the command that installs it; plain backups need it not."""
    monkeypatch.setitem(sys.modules, "pyrage", None)
    with pytest.raises(DrydockError, match="pyrage") as caught:
        encryption.check(sealing)
    assert "drydock[encryption]" in caught.value.hint
    with pytest.raises(DrydockError, match="pyrage"):
        encryption.check_identity(sealing, list(sealing.recipients))
    path = tmp_path / "t.dat"
    assert _opened(path, pack(io.BytesIO(b"rows"), path)) == b"rows"


class _Failing(io.RawIOBase):
    """A stream that gives some data, takes some, and then fails as a disk does."""

    def __init__(self, error: BaseException) -> None:
        self.left, self.error = 300_000, error

    def read(self, size: int = -1) -> bytes:
        self.left -= size
        if self.left < 0:
            raise self.error
        return b"x" * size

    def write(self, _data: object) -> int:
        raise self.error


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt(), EOFError("mine")])
@pytest.mark.parametrize("name", ["t.dat", "t.dat.zst"])
def test_a_stream_s_own_error_comes_through(tmp_path: Path, sealing: Sealing, error: BaseException, name: str) -> None:
    """A full disk or Ctrl-C within age or zstd is that, not an error of encryption."""
    stream = cast("BinaryIO", _Failing(error))
    with pytest.raises(type(error)):
        pack(stream, tmp_path / sealing.name(name), sealing)
    path = tmp_path / sealing.name(f"sound.{name}")
    packed = pack(io.BytesIO(b"x" * 300_000), path, sealing)
    with pytest.raises(type(error)):
        unpack(path, stream, packed, sealing)


def test_memory_does_not_grow_with_the_size(tmp_path: Path, sealing: Sealing) -> None:
    """Packing and unpacking 300 MB that do not compress takes less than 60 MB more than importing does."""
    program = """
import os, resource, sys, pathlib
from drydock.backup.packing import pack, unpack
from drydock.backup.encryption import Sealing
import pyrage, zstandard
class Rows:
    left = 300 << 20
    block = os.urandom(1 << 20)
    def read(self, size=-1):
        size = min(size, self.left, 1 << 20)
        self.left -= size
        return self.block[:size]
    def write(self, data): return len(data)
sealing = Sealing((sys.argv[1],), pathlib.Path(sys.argv[2]))
path = pathlib.Path(sys.argv[3])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
unpack(path, Rows(), pack(Rows(), path, sealing), sealing)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    words = [sys.executable, "-c", program, sealing.recipients[0], str(sealing.identity), str(tmp_path / "t.zst.age")]
    grown = int(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
    unit = 1 if sys.platform == "darwin" else 1024
    assert grown * unit < 60 << 20
