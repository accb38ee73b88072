"""`docker compose` v2: brings the declaration in compose.yaml up and down, and does nothing else."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from drydock.errors import EngineError
from drydock.settings import child_environment

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

# Turns on what is not brought up with the servers.
ARCHIVE = "archive"
# Long-form mounts, secrets from files and `name:` all work from here on; 2.0 to 2.16 were not tried.
OLDEST = (2, 17)
INSTALL = "Install the Compose plugin (docker-compose-plugin, or docker-compose on Debian), or set ENGINE=embedded."


@dataclass(frozen=True)
class Compose:
    """The declaration of one environment: its files, and the variables they need."""

    files: tuple[Path, ...]
    variables: Mapping[str, str]

    def up(self, *services: str) -> None:
        """Create and start what is missing or has changed of these services; does not wait for health.

        Raises:
            EngineError: with what compose said.
        """
        self._run("up", "--detach", "--remove-orphans", "--quiet-pull", *services)

    def down(self) -> None:
        """Stop and remove the containers and the network; volumes stay."""
        self._run("down", "--remove-orphans")

    def _run(self, *arguments: str) -> None:
        files = [part for path in self.files for part in ("--file", str(path))]
        # The project's own .env is drydock's business: compose would read it for its variables.
        options = ["--env-file", os.devnull, *files, "--profile", ARCHIVE, "--progress", "plain"]
        command = ["docker", "compose", *options, *arguments]
        result = _docker(command, child_environment(self.variables))
        if result.returncode:
            raise EngineError(f"docker compose {arguments[0]} failed: {_said(result.stderr)}.", hint="invoke doctor")


def version() -> tuple[int, ...]:
    """The version of the compose plugin.

    Raises:
        EngineError: where docker or its compose plugin is missing, or older than OLDEST.
    """
    found = _installed()
    if found < OLDEST:
        raise EngineError(f"docker compose {'.'.join(map(str, found))} is too old: 2.17 is needed.", hint=INSTALL)
    return found


@cache
def _installed() -> tuple[int, ...]:
    """Asked once: it takes docker 50 ms to say."""
    result = _docker(["docker", "compose", "version", "--short"], child_environment({}))
    numbers = re.match(r"v?(\d+)\.(\d+)\.(\d+)", result.stdout.strip())
    if result.returncode or numbers is None:
        raise EngineError("Docker answers, but `docker compose` does not.", hint=INSTALL)
    return tuple(int(number) for number in numbers.groups())


def _docker(command: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    try:
        # Not close_fds: compose survives the task that is killed, and goes on creating containers. With the checkout's
        # lock in its hands, the next task waits until it has ended instead of creating the same ones.
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, close_fds=False)
    except FileNotFoundError:
        raise EngineError("The docker command is not on PATH.", hint=INSTALL) from None


def _said(stderr: str) -> str:
    """The telling line of compose's output: the last one, without its progress lines and its trailing full stop."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    telling = [line for line in lines if re.search(r"error|fail|invalid|denied|cannot|no such", line, re.IGNORECASE)]
    return (telling or lines or ["it said nothing"])[-1].rstrip(".")
