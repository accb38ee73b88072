from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from drydock.environment import open_existing, open_or_create
from drydock.errors import DrydockError
from drydock.settings import Settings
from drydock.state import StateFile, create

if TYPE_CHECKING:
    from pathlib import Path


def make(root: Path) -> Settings:
    root.mkdir(exist_ok=True)
    return Settings(root=root)


@pytest.mark.parametrize(
    ("folder", "expected"),
    [("shop", "shop"), ("My Shop!", "my-shop"), ("ünïcode", "n-code"), ("---", "checkout"), ("x" * 80, "x" * 30)],
)
def test_names_suit_docker(tmp_path: Path, folder: str, expected: str) -> None:
    """Whatever the folder is called, the project name is one that Docker takes."""
    state = create(tmp_path / folder, "")
    assert state.name == f"drydock-{expected}-{state.checkout}"


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """A state survives the file."""
    environment, _ = open_or_create(make(tmp_path))
    environment.record(engine="docker", heads={"a": ["b"]}, images={"redis": "x"})
    assert StateFile(tmp_path / ".drydock").read() == environment.state
    assert (tmp_path / ".drydock").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / ".drydock" / ".gitignore").read_text() == "*\n"


def test_no_change_writes_nothing(tmp_path: Path) -> None:
    """Recording what is already recorded leaves the file untouched."""
    environment, _ = open_or_create(make(tmp_path))
    before = environment.state_file.path.stat().st_ino
    environment.record(root=str(tmp_path))
    assert environment.state_file.path.stat().st_ino == before


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"version": 99}', '"x"'])
def test_damaged_state_is_a_sentence(tmp_path: Path, text: str) -> None:
    """A damaged or newer file names itself and the way out."""
    folder = make(tmp_path).folder
    folder.mkdir()
    (folder / "state.json").write_text(text)
    with pytest.raises(DrydockError, match=r"state\.json") as caught:
        StateFile(folder).read()
    assert "mv " in caught.value.hint


def test_unknown_fields_of_the_same_version_are_ignored(tmp_path: Path) -> None:
    """A field that a later patch added does not stop this one."""
    environment, _ = open_or_create(make(tmp_path))
    raw = json.loads(environment.state_file.path.read_text())
    environment.state_file.path.write_text(json.dumps({**raw, "added_later": 1}))
    assert environment.state_file.read() == environment.state


def test_a_copied_folder_gets_its_own_environment(tmp_path: Path) -> None:
    """Cp -r of a checkout: what came along is set aside and the identities differ."""
    first, _ = open_or_create(make(tmp_path / "one"))
    first.record(engine="embedded")
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    with pytest.raises(DrydockError, match="copy of"):
        open_existing(tmp_path / "two")
    second, note = open_or_create(make(tmp_path / "two"))
    assert "copy of" in note
    assert first.state.checkout != second.state.checkout
    assert (tmp_path / "two" / f".drydock-of-{first.state.checkout}" / "state.json").exists()


def test_a_moved_folder_keeps_its_environment(tmp_path: Path) -> None:
    """Mv of a checkout: same identity, new place, and it says so."""
    first, _ = open_or_create(make(tmp_path / "one"))
    (tmp_path / "one").rename(tmp_path / "two")
    second, note = open_or_create(make(tmp_path / "two"))
    assert "moved" in note
    assert first.state.checkout == second.state.checkout
    assert second.state.root == str(tmp_path / "two")


def test_no_environment_yet(tmp_path: Path) -> None:
    """Before the first up, a task says what to run."""
    with pytest.raises(DrydockError) as caught:
        open_existing(make(tmp_path).root)
    assert caught.value.hint == "invoke up"


def test_urls_hide_passwords_on_request(tmp_path: Path) -> None:
    """One form for people, one for programs; roles print without their passwords."""
    settings = Settings(root=tmp_path, app_password="p%ss/word", redis_password="sesame-sesame")
    environment, _ = open_or_create(settings)
    environment.record(postgres_port=5433, redis_port=6380)
    assert environment.database_url(environment.app) == "postgresql://app:p%25ss%2Fword@127.0.0.1:5433/app"
    assert environment.database_url(environment.app, password=False) == "postgresql://app@127.0.0.1:5433/app"
    assert environment.redis_url() == "redis://:sesame-sesame@127.0.0.1:6380/0"
    assert "sesame" not in environment.redis_url(password=False)
    assert repr(environment.app) == "Role('app')"
