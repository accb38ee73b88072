"""The command surface and its documentation agree, and listing it stays cheap."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from drydock.tasks import namespace

if TYPE_CHECKING:
    from invoke.parser.argument import Argument

ROOT = Path(__file__).parents[2]
TASKS = sorted(namespace().task_names)
HEAVY = ("docker", "sqlalchemy", "alembic", "pydantic", "rich", "psycopg", "psutil", "dotenv")


def arguments(name: str) -> list[Argument]:
    """A task's flags; of a copy, since Invoke takes the help texts out of the task that it asks."""
    found: list[Argument] = copy.deepcopy(namespace()[name]).get_arguments()
    return found


@pytest.mark.parametrize("name", TASKS)
def test_every_task_is_documented(name: str) -> None:
    """Each task stands in the README, by the name people type, and has a help text of its own."""
    named = {"migrate.up", "seed.load", "reset.clone", "backup.make", "restore.from", "undo.last", "mark.make"}
    typed = name.partition(".")[0] if name in named else name
    assert f"`invoke {typed}" in (ROOT / "README.md").read_text()
    assert namespace()[name].__doc__


@pytest.mark.parametrize("name", TASKS)
def test_every_flag_is_explained(name: str) -> None:
    """No flag of any task comes without a help text."""
    assert [arg.name for arg in arguments(name) if not arg.help] == []


@pytest.mark.parametrize("name", [name for name in TASKS if name not in {"psql", "redis-cli"}])
def test_every_task_but_the_interactive_ones_takes_json(name: str) -> None:
    """--json is everywhere."""
    assert "json" in {arg.name for arg in arguments(name)}


def test_listing_imports_nothing_heavy() -> None:
    """`invoke --list` loads neither Docker nor SQLAlchemy nor Alembic nor rich."""
    code = (
        "import sys; from invoke.main import program; program.run('invoke --list', exit=False);"
        f"print([m for m in {HEAVY} if m in sys.modules], file=sys.stderr)"
    )
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "reset.undo" in result.stdout
    assert result.stderr.strip() == "[]"


def test_the_readme_opens_with_the_two_commands() -> None:
    """The first two code blocks are the two commands of a fresh machine."""
    blocks = (ROOT / "README.md").read_text().split("```sh\n")[1:3]
    commands = [block.split("\n```")[0] for block in blocks]
    assert commands == ['pip install -e ".[embedded]" && invoke up', 'pip install -e ".[embedded,test]" && pytest']
