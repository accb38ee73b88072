"""Which throwaway server belongs to a checkout: its settings, its passwords and what is recorded of it."""

from __future__ import annotations

import json
import secrets
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from drydock.engine import choice, wheels
from drydock.engine.processes import namespace_problem
from drydock.environment import Environment
from drydock.errors import DrydockError, EngineError, RefusedError
from drydock.files import write_atomic
from drydock.settings import SECRETS, Settings
from drydock.state import StateFile, create

if TYPE_CHECKING:
    from pathlib import Path

ENGINES = ("auto", "embedded", "docker")
PASSWORD_BYTES = 24


def settings_for(own: Settings, engine: str) -> Settings:
    """The settings of the throwaway server beside a checkout's own: free ports, no passwords yet.

    Raises:
        RefusedError: where APP_ENV=production.
    """
    if own.production:
        raise RefusedError(
            "Tests get no throwaway server where APP_ENV is production.",
            hint="Unset APP_ENV, or set it to test.",
        )
    blank: dict[str, Any] = dict.fromkeys(_secret_names(), "")
    return replace(own, throwaway=True, engine=engine, postgres_port=None, redis_port=None, ports="auto", **blank)


def recorded(settings: Settings) -> Environment | None:
    """The throwaway server that an earlier run started; None where there is none that is this checkout's."""
    try:
        state = StateFile(settings.folder).read()
        passwords = json.loads(_password_file(settings).read_text(encoding="utf-8"))
    except (OSError, ValueError, DrydockError):
        return None  # never finished, or damaged: both are replaced whole
    if state is None or not state.started_with or state.root != str(settings.root) or set(passwords) != _secret_names():
        return None
    return Environment(replace(settings, **passwords), state)


def make(settings: Settings, reason: str) -> Environment:
    """A new identity: a folder, passwords and ports-to-be that nothing else has."""
    file = StateFile(settings.folder)
    file.prepare()
    passwords: dict[str, Any] = {name: secrets.token_urlsafe(PASSWORD_BYTES) for name in _secret_names()}
    write_atomic(_password_file(settings), json.dumps(passwords) + "\n", durable=False)
    state = create(settings.root, f"{settings.project.name or settings.root.name}-test")
    environment = Environment(replace(settings, **passwords), state)
    images = own_images(settings.root)
    environment.record(engine=settings.engine, engine_reason=reason, images=images)
    return environment


def destroy_containers(settings: Settings) -> None:
    """Remove the containers of a throwaway server, also of one whose start was interrupted."""
    try:
        state = StateFile(settings.folder).read()
    except DrydockError:
        return
    if state and state.root == str(settings.root):
        Environment(settings, state).engine.destroy()


def own_images(root: Path) -> dict[str, str]:
    """The images that the developer's own environment runs: where one was built locally, it serves tests too."""
    own = StateFile(root / ".drydock").read()
    return own.images if own else {}


def refuse_developers_own(environment: Environment) -> None:
    """Stop where the throwaway server and the developer's own are one.

    Raises:
        RefusedError: where their system identifiers are equal.
    """
    own = StateFile(environment.settings.root / ".drydock").read()
    if own and own.system_identifier and own.system_identifier == environment.state.system_identifier:
        raise RefusedError(
            f"The server for tests on port {environment.state.postgres_port} is this checkout's own Postgres.",
            hint="Nothing was done to it. If data was copied by hand, remove .drydock/test-*.",
        )


def choose(own: Settings, wanted: str) -> tuple[str, str]:
    """The engine for the throwaway server and why: embedded where it can serve this project, as it is quicker.

    Raises:
        EngineError: where neither can, or the one asked for cannot.
    """
    problem = wheels.available() or namespace_problem() or _missing_extension(own)
    if wanted == "docker" or (wanted == "auto" and problem):
        docker = choice.problem("docker")
        if not docker:
            return "docker", problem or "asked for"
        problem = docker if wanted == "docker" else f"{problem} {docker}"
    if problem:
        raise EngineError(problem, hint=f"{wheels.INSTALL}, or start Docker; ini option drydock_engine.")
    return "embedded", "it starts quicker than containers"


def _missing_extension(own: Settings) -> str:
    folder = wheels.postgres_home() / "share" / "postgresql" / "extension"
    missing = [name for name in own.project.extensions if not (folder / f"{name}.control").exists()]
    return f"The embedded Postgres has no extension {missing[0]}." if missing else ""


def _secret_names() -> set[str]:
    return {f.name for f in fields(Settings) if f.metadata.get("name") in SECRETS}


def _password_file(settings: Settings) -> Path:
    return settings.folder / "passwords.json"
