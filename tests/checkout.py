"""A checkout for tests: a folder of its own with real servers, driven by the commands people type."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from drydock.environment import Environment, open_existing

ROOT = Path(__file__).parents[1]
FILES = (
    "tasks.py",
    "pyproject.toml",
    "alembic.ini",
    ".env.example",
    ".squawk.toml",
    "migrations",
    "src/app",
    "compose",
)
# What a developer's own shell may have set and what would change what is under test.
OURS = (
    "APP_ENV",
    "ENGINE",
    "PORTS",
    "IMAGES",
    "POSTGRES_",
    "REDIS_",
    "SEED_SIZE",
    "BACKUP_",
    "READY_TIMEOUT",
    "LOCK_TIMEOUT",
    "DATABASE_",
    "WAL_ARCHIVE",
    "AWS_",
)


class Checkout:
    """One folder with a copy of this bundle, and `invoke` in it."""

    def __init__(self, root: Path, **variables: str) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            _copy(ROOT / name, root / name)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
        # Starting an archiver takes its time: who tests it asks for it.
        self.environ = kept | {"WAL_ARCHIVE": "off"} | variables

    def start(self, *words: str, **variables: str) -> subprocess.Popen[str]:
        """Run `invoke` with these words and do not wait."""
        return subprocess.Popen(
            [sys.executable, "-m", "invoke", *words],
            cwd=self.root,
            env={**self.environ, **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *words: str, code: int | None = 0, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run `invoke` with these words, expecting an exit code (None: any)."""
        process = self.start(*words, **variables)
        out, err = process.communicate(timeout=180)
        shown = f"invoke {' '.join(words)} -> {process.returncode}\n{out}\n{err}"
        assert code is None or process.returncode == code, shown
        assert "Traceback" not in err, shown
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    def json(self, *words: str, code: int | None = 0, **variables: str) -> dict[str, Any]:
        """Run a task with --json and return its document."""
        document: dict[str, Any] = json.loads(self.run(*words, "--json", code=code, **variables).stdout)
        return document

    @property
    def environment(self) -> Environment:
        """The environment as recorded now."""
        return open_existing(self.root, started=False)

    def query(self, statement: str, *, role: str = "superuser", database: str = "") -> list[tuple[Any, ...]]:
        """Run one statement as `app`, `owner`, `backup` or `superuser`; returns its rows, if it has any.

        The superuser sees the rows of every tenant; the application's role sees none outside a tenant's context.
        """
        from drydock import postgres

        environment = self.environment
        with postgres.connect(environment, getattr(environment, role), database) as connection:
            cursor = connection.execute(statement.encode())
            return list(cursor.fetchall()) if cursor.description else []

    def redis(self, *words: str) -> str:
        """Run one Redis command."""
        from drydock import redis_client

        with redis_client.connect(self.environment, timeout=30) as redis:
            return redis.ask(*words)

    def configure(self, **variables: str) -> None:
        """Add lines to the checkout's .env; a later line wins."""
        with (self.root / ".env").open("a", encoding="utf-8") as stream:
            stream.writelines(f"{name}={value}\n" for name, value in variables.items())

    def remove(self) -> None:
        """Take away everything this checkout started, whatever state it is in."""
        if (self.root / ".drydock" / "state.json").exists():
            with contextlib.suppress(AssertionError):
                self.run("destroy", "--yes", APP_ENV="test", ENGINE="auto")
        shutil.rmtree(self.root, ignore_errors=True)


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
    elif source.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)
