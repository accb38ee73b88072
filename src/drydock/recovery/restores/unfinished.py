"""What is being made beside, written down before it is begun, so that the next task can tell what a kill has left."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from drydock import stale_redis
from drydock.errors import DrydockError, word
from drydock.files import write_atomic
from drydock.recovery.archive.folders import Archive

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from drydock.environment import Environment
    from drydock.settings import Settings

FILE = "going-back.json"


@dataclass(frozen=True)
class Work:
    """A volume that is being made, and the part of which cluster's archive, where it is to have one."""

    volume: str
    part: str = ""
    system_identifier: str = ""


def exists(settings: Settings) -> bool:
    """True where something was begun and not finished."""
    return _path(settings).exists() or stale_redis.owed(settings)


def begin(environment: Environment, work: Work) -> None:
    """Note what is about to be made."""
    write_atomic(_path(environment.settings), json.dumps(asdict(work)) + "\n")


def finish(environment: Environment) -> None:
    """Forget it: it is in use, or gone."""
    _path(environment.settings).unlink(missing_ok=True)


def read(settings: Settings) -> Work | None:
    """What was begun and not finished.

    Raises:
        DrydockError: where the note is damaged.
    """
    path = _path(settings)
    try:
        return Work(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise DrydockError(f"{path} is damaged: {error}.", hint=f"rm {word(path)}; invoke doctor") from error


def clear(environment: Environment, report: Callable[[str], None]) -> None:
    """Remove what a killed task was making; where it had come to be in use, only its note goes.

    The checkout's lock is held, so nobody is making it.
    """
    work = read(environment.settings)
    if work is None:
        return
    from drydock.recovery.restores import branches

    beside, state = environment.engine.beside, environment.state
    used = {beside.volume(str(state.incarnation)), *(branch.volume for branch in branches.every(environment.settings))}
    if work.volume not in used:
        report(f"removing {work.volume}, which a task was killed over")
        beside.remove(work.volume)
        if work.part:
            _forget_part(Archive(environment.settings, work.system_identifier), work.part)
    finish(environment)


def next_incarnation(environment: Environment, archive: Archive) -> int:
    """A number that no life of the cluster has had, whether it is kept, archived or only in a base backup."""
    from drydock.recovery.bases import base

    named = re.compile(re.escape(environment.engine.beside.volume("")) + r"(\d+)")
    volumes = [int(found[1]) for name in environment.engine.beside.volumes() if (found := named.fullmatch(name))]
    archived = [part.incarnation for part in archive.parts()]
    backed_up = [found.incarnation for found in base.bases(archive)]
    # A state without a cluster has not lived yet.
    lived = [environment.state.incarnation] if environment.state.system_identifier else [0]
    return max([*volumes, *archived, *backed_up, *lived]) + 1


def _forget_part(archive: Archive, part: str) -> None:
    """Remove the folder of a part that nothing was ever received into."""
    folder = archive.folder / part
    if folder.is_dir() and not archive.segments(part):
        shutil.rmtree(folder)


def _path(settings: Settings) -> Path:
    return settings.folder / FILE
