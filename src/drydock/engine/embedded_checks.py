"""What `doctor` asks of the embedded engine: the wheels, the user namespace, the data's major and who can read it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from drydock.checks import Check, Status
from drydock.engine import MAJOR, POSTGRES, wheels
from drydock.engine.cluster import major_of
from drydock.engine.processes import AS_USER, namespace_problem
from drydock.errors import word
from drydock.files import others_can_read

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drydock.engine.embedded import EmbeddedEngine


def checks(engine: EmbeddedEngine) -> list[Check]:
    """Every check of the engine itself."""
    return [_wheels(), *_namespace(), *_modes(engine), _volume(engine)]


def _wheels() -> Check:
    problem = wheels.available()
    if problem:
        return Check("embedded:wheels", Status.FAIL, problem, wheels.INSTALL)
    found = wheels.versions()
    detail = f"PostgreSQL {found.postgres}, vector {found.vector}, Redis {found.redis}"
    return Check("embedded:wheels", Status.PASS, detail)


def _namespace() -> Iterator[Check]:
    if os.geteuid() == 0:
        problem = namespace_problem()
        detail = problem or "root runs the servers in a user namespace"
        yield Check("embedded:user", Status.FAIL if problem else Status.PASS, detail, AS_USER if problem else "")


def _modes(engine: EmbeddedEngine) -> Iterator[Check]:
    for folder in (engine.folder, engine.folder / "volumes"):
        if folder.exists() and others_can_read(folder):
            yield Check(
                "embedded:modes", Status.WARN, f"other users can look into {folder}", f"chmod 700 {word(folder)}"
            )


def _volume(engine: EmbeddedEngine) -> Check:
    volume = engine.volume(POSTGRES)
    held = major_of(volume)
    if held is None:
        return Check("embedded:volume", Status.PASS, "no data yet")
    if held != MAJOR:
        fix = f"Dump it with Postgres {held}, then move the folder away and run `invoke up`."
        return Check("embedded:volume", Status.FAIL, f"{volume} holds data of Postgres {held}, not {MAJOR}", fix)
    return Check("embedded:volume", Status.PASS, f"data of Postgres {held}")
