"""The house rules that a reader relies on, held against the code."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src"
DRYDOCK = sorted((SOURCE / "drydock").rglob("*.py"))
MIGRATIONS = SOURCE.parent / "migrations" / "env.py"
APP = sorted((SOURCE / "app").rglob("*.py"))
RECOVERY = "drydock.recovery"
# Each may import those before it.
LAYERS = ("wal", "archive", "bases", "history", "plans", "upkeep", "restores", "way_back")


def names(path: Path) -> set[str]:
    """Every dotted name and call in a file, such as `os.environ` and `print`."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    dotted = {f"{n.value.id}.{n.attr}" for n in nodes if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name)}
    return dotted | {n.func.id for n in nodes if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}


def imports(path: Path) -> set[str]:
    """Every module a file imports, also inside functions."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return plain | {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}


@pytest.mark.parametrize(
    ("word", "allowed"),
    [("os.environ", "settings.py"), ("os.getenv", "settings.py"), ("print", "console.py"), ("sys.exit", "nowhere")],
)
def test_one_place_for_each(word: str, allowed: str) -> None:
    """Only settings.py reads the environment, only console.py prints, nothing exits by itself."""
    assert [path.name for path in DRYDOCK if word in names(path) and path.name != allowed] == []


@pytest.mark.parametrize("path", [*APP, MIGRATIONS], ids=lambda path: str(path.relative_to(SOURCE.parent)))
def test_only_the_settings_read_the_environment(path: Path) -> None:
    """No module of the application but its settings, and not the migrations' env.py, reads the environment."""
    readers = {"os.environ", "os.environb", "os.getenv", "os.getenvb", "getenv", "load_dotenv", "dotenv_values"}
    assert readers.isdisjoint(names(path))
    text = path.read_text()
    assert "from os import environ" not in text
    assert path.name == "settings.py" or "BaseSettings" not in text


def test_the_application_knows_nothing_of_the_tooling() -> None:
    """Nothing in src/app imports drydock, and nothing in drydock imports the application."""
    assert [path.name for path in APP if any(name.startswith("drydock") for name in imports(path))] == []
    assert [path.name for path in DRYDOCK if any(name.partition(".")[0] == "app" for name in imports(path))] == []


@pytest.mark.parametrize("path", DRYDOCK + APP, ids=lambda path: str(path.relative_to(SOURCE)))
def test_modules_are_short(path: Path) -> None:
    """A module has at most 350 lines."""
    assert len(path.read_text().splitlines()) <= 350


@pytest.mark.parametrize("layer", LAYERS)
def test_recovery_is_built_in_layers(layer: str) -> None:
    """A package of drydock.recovery imports only those before it; the description of them all names them in order."""
    above = tuple(f"{RECOVERY}.{name}" for name in LAYERS[LAYERS.index(layer) + 1 :])
    modules = [path for path in DRYDOCK if path.parts[-3:-1] == ("recovery", layer)]
    assert len(modules) > 1
    assert [path.name for path in modules if any(name.startswith(above) for name in imports(path))] == []


def test_the_layers_of_recovery_are_described() -> None:
    """No package of drydock.recovery is missing in its description, which has them in the order of the layers."""
    folder = SOURCE / "drydock" / "recovery"
    assert {path.name for path in folder.iterdir() if path.is_dir() and path.name != "__pycache__"} == set(LAYERS)
    described = ast.get_docstring(ast.parse((folder / "__init__.py").read_text())) or ""
    assert tuple(line.partition(":")[0] for line in described.splitlines() if ": " in line)[1:] == LAYERS
