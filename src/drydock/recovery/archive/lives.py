"""Which part of the archive a cluster was living in, and when: restores, undo and redo go from one to another.

Timelines alone do not tell. A cluster goes back from timeline 1 to 2, and undo makes it live on timeline 1 again; what
somebody saw at 14:05 is then what was lived at 14:05, whatever has been restored since.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from drydock.errors import DrydockError, word
from drydock.files import write_atomic

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from drydock.recovery.archive.folders import Archive

FILE = "lives.json"


@dataclass(frozen=True)
class Life:
    """From `since` on, and until the next one, the cluster's WAL went to a part of the archive."""

    part: str
    since: datetime


def record(archive: Archive, part: str, at: datetime) -> None:
    """Note that the cluster lives in a part from now on; nothing happens where it does already.

    Where there are no notes they begin with what the parts say: a moment before today's part is asked for as well.

    Raises:
        DrydockError: where the notes or a part's description are damaged.
    """
    noted = _read(archive.folder / FILE)
    if noted and noted[-1].part == part:
        return
    known = noted or _begun(archive)
    lives = known if known and known[-1].part == part else [*known, Life(part, at)]
    document = [{"part": life.part, "since": life.since.astimezone(UTC).isoformat()} for life in lives]
    write_atomic(archive.folder / FILE, json.dumps(document, indent=1) + "\n")


def lives(archive: Archive) -> list[Life]:
    """All lives, in the order in which they were lived. Without notes, a part's life begins when it was made.

    Raises:
        DrydockError: where the notes or a part's description are damaged.
    """
    noted = _read(archive.folder / FILE)
    return noted or _begun(archive)


def index_at(known: Sequence[Life], moment: datetime) -> int | None:
    """Which of the lives was lived at a moment; None before the first."""
    found = [index for index, life in enumerate(known) if life.since <= moment]
    return found[-1] if found else None


def _begun(archive: Archive) -> list[Life]:
    return [Life(part.name, datetime.fromisoformat(part.begun)) for part in archive.parts()]


def _read(path: Path) -> list[Life]:
    try:
        document = json.loads(path.read_bytes())
        return [Life(str(entry["part"]), datetime.fromisoformat(entry["since"])) for entry in document]
    except FileNotFoundError:
        return []
    except (ValueError, TypeError, KeyError) as error:
        hint = f"rm {word(path)}; invoke down; invoke up: it is made again from the parts of the archive"
        raise DrydockError(f"{path} is damaged: {error}.", hint=hint) from error
