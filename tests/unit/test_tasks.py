"""The collection of all tasks, as Invoke loads it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("variables", "kept"), [({}, True), ({"PYTHONDONTWRITEBYTECODE": "1"}, False)])
def test_bytecode_is_kept_unless_python_is_told_not_to(
    variables: dict[str, str], *, kept: bool, tmp_path: Path
) -> None:
    """Invoke's own rule is for tasks.py alone: drydock's modules are compiled once, not for each command."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environ = inherited | {"PYTHONPYCACHEPREFIX": str(tmp_path)} | variables
    subprocess.run([sys.executable, "-m", "invoke", "--list"], cwd=ROOT, env=environ, check=True, capture_output=True)
    found = {path.name.partition(".")[0] for path in tmp_path.rglob("*.pyc") if "drydock" in path.parts}
    assert ("backups" in found) is kept
    assert not list(tmp_path.joinpath(*ROOT.parts[1:]).glob("tasks.*.pyc"))


@pytest.mark.parametrize(
    "words", [["history", "--limit", "x"], ["logs", "--lines", "1.5"], ["logs", "--lines=-1"], ["serve", "--port=1e9"]]
)
def test_what_is_no_number_is_one_sentence(words: list[str]) -> None:
    """As any other bad value, and not Invoke's traceback."""
    ended = subprocess.run(
        [sys.executable, "-m", "invoke", *words], check=False, cwd=ROOT, capture_output=True, text=True
    )
    assert ended.returncode == 2
    assert "is not a whole number from 0 to" in ended.stderr
    assert "Traceback" not in ended.stderr
