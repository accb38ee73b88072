from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from drydock import dotenv
from drydock.settings import SECRETS, load, read_dotenv

if TYPE_CHECKING:
    from pathlib import Path


def test_first_use_writes_random_passwords(tmp_path: Path) -> None:
    """The file appears with mode 0600 and a different password for everyone."""
    assert dotenv.ensure(load(tmp_path, {}))
    values = read_dotenv(tmp_path / ".env")
    assert len({values[name] for name in SECRETS}) == len(SECRETS)
    assert min(len(values[name]) for name in SECRETS) >= 32
    assert (tmp_path / ".env").stat().st_mode & 0o777 == 0o600


def test_second_use_changes_nothing(tmp_path: Path) -> None:
    """A complete .env is left alone, to the byte."""
    dotenv.ensure(load(tmp_path, {}))
    before = (tmp_path / ".env").read_bytes()
    assert dotenv.ensure(load(tmp_path, {})) == ""
    assert (tmp_path / ".env").read_bytes() == before


def test_a_projects_own_file_keeps_its_lines(tmp_path: Path) -> None:
    """An existing .env keeps every line; what is missing comes at its end."""
    (tmp_path / ".env").write_text("STRIPE_KEY=abc # mine\nREDIS_PASSWORD=kept-kept-kept")
    dotenv.ensure(load(tmp_path, {}))
    text = (tmp_path / ".env").read_text()
    assert text.startswith("STRIPE_KEY=abc # mine\nREDIS_PASSWORD=kept-kept-kept\n")
    assert all(read_dotenv(tmp_path / ".env")[name] for name in SECRETS)


def test_empty_ones_are_filled_in_place() -> None:
    """A variable that stands empty gets its value where it stands."""
    filled = dotenv.fill("A=1\nREDIS_PASSWORD=\nB=2\n", ["REDIS_PASSWORD"])
    assert [line.partition("=")[0] for line in filled.splitlines()] == ["A", "REDIS_PASSWORD", "B"]


def test_passwords_of_the_environment_are_not_written(tmp_path: Path) -> None:
    """A password that comes from the process environment gets no line of its own."""
    dotenv.ensure(load(tmp_path, {"REDIS_PASSWORD": "from-the-environment"}))
    assert not read_dotenv(tmp_path / ".env")["REDIS_PASSWORD"]


@pytest.mark.parametrize(
    "value",
    [
        "/home/ada/key.age",
        "my key #1.age",
        "it's",
        '"quoted".age',
        "back\\slash",
        "ends\\",
        "'a'",
        "$HOME/${x}",
        "#",
        "ü =x",
    ],
)
def test_a_line_gives_its_value_back(tmp_path: Path, value: str) -> None:
    """Whatever a path has in it; and what needs no quotes has none."""
    (tmp_path / ".env").write_text(f"A=1\n{dotenv.assignment('KEY', value)}\nB=2\n", encoding="utf-8")
    assert read_dotenv(tmp_path / ".env") == {"A": "1", "KEY": value, "B": "2"}
    assert dotenv.assignment("KEY", "/home/ada/key-1.age") == "KEY=/home/ada/key-1.age"
