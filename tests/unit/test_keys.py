from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest

from drydock.backup import encryption, keys
from drydock.backup.encryption import Sealing
from drydock.errors import DrydockError, RefusedError, SettingsError
from drydock.settings import load

if TYPE_CHECKING:
    from pathlib import Path

    from drydock.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Of a checkout."""
    (tmp_path / "checkout").mkdir()
    return load(tmp_path / "checkout", {})


def test_a_new_pair_works_and_is_private(settings: Settings, tmp_path: Path) -> None:
    """The file is the owner's alone, in a folder made for it, and opens what its public key closed."""
    path = tmp_path / "home/config/project.age"
    recipient, made = keys.make(settings, path)
    assert (made, path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (True, 0o600, 0o700)
    sealed, opened = io.BytesIO(), io.BytesIO()
    encryption.encrypt(io.BytesIO(b"rows"), sealed, Sealing((recipient,)))
    encryption.decrypt(io.BytesIO(sealed.getvalue()), opened, Sealing((), path))
    assert opened.getvalue() == b"rows"


def test_a_key_is_never_replaced(settings: Settings, tmp_path: Path) -> None:
    """The second time the same key is proven again and its public key told again."""
    first = keys.make(settings, tmp_path / "key.age")
    text = (tmp_path / "key.age").read_text()
    assert keys.make(settings, tmp_path / "key.age") == (first[0], False)
    assert (tmp_path / "key.age").read_text() == text


def test_a_file_that_is_no_key_is_left_alone(settings: Settings, tmp_path: Path) -> None:
    """Something else under that name is an error, not overwritten."""
    path = tmp_path / "key.age"
    path.write_text("my notes\n")
    path.chmod(0o600)
    with pytest.raises(DrydockError, match="holds no private key"):
        keys.make(settings, path)
    assert path.read_text() == "my notes\n"


@pytest.mark.parametrize("place", ["key.age", "backups/key.age", "new/../key.age"])
def test_a_key_does_not_lie_in_the_checkout(settings: Settings, place: str) -> None:
    """There the folder's copies, its repository and its backups would take it along."""
    with pytest.raises(RefusedError, match="lies in the checkout") as caught:
        keys.make(settings, settings.root / place)
    assert "--path" in caught.value.hint
    assert not list(settings.root.rglob("*.age"))


def test_an_identity_among_the_backups_is_refused(tmp_path: Path) -> None:
    """The setting itself may not name a file that travels with what it opens."""
    with pytest.raises(SettingsError, match="BACKUP_IDENTITY lies in BACKUP_FOLDER"):
        load(tmp_path, {"BACKUP_IDENTITY": "backups/dumps/key.age"})


def test_where_a_key_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The setting's path; without one, a file named after the project in the user's own folder."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "shop").mkdir()
    assert keys.default_path(load(tmp_path / "shop", {})) == tmp_path / "home/.config/drydock/shop.age"
    assert keys.default_path(load(tmp_path / "shop", {"BACKUP_IDENTITY": "/k.age"})).name == "k.age"
