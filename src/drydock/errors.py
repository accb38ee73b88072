"""The one exception root: every failure a user can meet is a sentence, an exit code and a next command."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def word(path: Path | str) -> str:
    """A path as one word of a command that a hint tells: quoted where a shell would take it for something else."""
    return shlex.quote(str(path))


class DrydockError(Exception):
    """A failure the user can act on.

    Args:
        message: what failed, and on which object, as one sentence.
        hint: what to run or change next; empty where nothing would help.

    Attributes:
        facts: what --json tells beside; nothing, mostly.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.facts: dict[str, object] = {}


class SettingsError(DrydockError):
    """A setting is missing or malformed."""

    exit_code = 2


class DamagedError(DrydockError):
    """A file is not what was written, or holds something else than it says: it is neither the server nor the key."""


class UnprovenError(DrydockError):
    """A backup is made, and proving it failed.

    Args:
        name: of the backup.
        path: its folder.
        cause: why it could not be proven; its exit code counts.
    """

    def __init__(self, name: str, path: Path, cause: DrydockError) -> None:
        super().__init__(f"{name} is made and unproven: {cause.message}", hint=f"invoke backup.verify {name}")
        self.exit_code = cause.exit_code
        self.facts = {"name": name, "path": str(path)}


class NoEnvironmentError(DrydockError):
    """This checkout has no environment yet, or has none any more."""


class RefusedError(DrydockError):
    """A task declined to start because it could have destroyed something it must not."""

    exit_code = 3


class EngineError(DrydockError):
    """The engine that runs the servers is missing, too old or failed."""

    exit_code = 4


class ImageError(EngineError):
    """An image could be neither found, pulled nor built."""


class PortTakenError(EngineError):
    """A port of this environment is held by another process or container."""


class NotReadyError(DrydockError):
    """A server did not become usable, or stopped being so."""

    exit_code = 5


class MigrationError(DrydockError):
    """A migration, or the history of migrations, failed.

    Args:
        message: as for every error.
        hint: as for every error.
        left: what the failure left of it and where the database is, as further sentences of the message.

    Attributes:
        reason: the message without these sentences.
    """

    exit_code = 6

    def __init__(self, message: str, *, hint: str = "", left: str = "") -> None:
        super().__init__(f"{message} {left}" if left else message, hint=hint)
        self.reason = message


class SeedError(DrydockError):
    """Seeding failed; nothing of it was kept."""

    exit_code = 7


class BusyError(DrydockError):
    """Another drydock task of this checkout holds the lock."""

    exit_code = 8
