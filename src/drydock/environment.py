"""The environment of one checkout: settings, state and engine together; what every task receives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from drydock.errors import DrydockError, RefusedError
from drydock.settings import Settings, load
from drydock.state import State, StateFile, create, is_copy

if TYPE_CHECKING:
    from pathlib import Path

    from drydock.engine import Engine

HOST = "127.0.0.1"
SUPERUSER = "postgres"


@dataclass(frozen=True)
class Role:
    """A database role and its password."""

    name: str
    password: str

    def __repr__(self) -> str:
        """The name alone: the password stays out of logs and tracebacks."""
        return f"Role({self.name!r})"


class Environment:
    """One checkout's settings and state, with the engine made on first use.

    Attributes:
        settings: frozen.
        state: as last recorded; replaced by `record`.
    """

    def __init__(self, settings: Settings, state: State) -> None:
        self.settings = settings
        self.state = state
        self.state_file = StateFile(settings.folder)
        self._engine: Engine | None = None

    @property
    def engine(self) -> Engine:
        """The recorded engine.

        Raises:
            EngineError: where it is missing on this machine or does not answer.
        """
        if self._engine is None:
            from drydock.engine.choice import make

            self._engine = make(self)
        return self._engine

    def record(self, **changes: Any) -> None:
        """Change the state and write it down."""
        self.state = self.state_file.update(self.state, **changes)

    @property
    def superuser(self) -> Role:
        """Bootstraps and clones; no task runs the application's work as this role."""
        return Role(SUPERUSER, self.settings.postgres_password)

    @property
    def owner(self) -> Role:
        """Owns the schema: migrates and seeds."""
        return Role(self.settings.owner, self.settings.owner_password)

    @property
    def app(self) -> Role:
        """What the application connects as: rows only."""
        return Role(self.settings.app_user, self.settings.app_password)

    def database_url(self, role: Role, database: str = "", *, password: bool = True) -> str:
        """A libpq URL for `role`; without the password where people will read it."""
        secret = f":{quote(role.password, safe='')}" if password else ""
        return (
            f"postgresql://{role.name}{secret}@{HOST}:{self.state.postgres_port}/{database or self.settings.database}"
        )

    def redis_url(self, *, password: bool = True) -> str:
        """The Redis URL; without the password where people will read it."""
        secret = f":{quote(self.settings.redis_password, safe='')}@" if password else ""
        return f"redis://{secret}{HOST}:{self.state.redis_port}/0"


def open_existing(root: Path | None = None) -> Environment:
    """The environment that an earlier `up` made.

    Raises:
        DrydockError: where there is none yet, or this folder is a copy of another checkout.
    """
    settings = load(root)
    state = StateFile(settings.folder).read()
    if state is None or not state.engine:
        raise DrydockError("This checkout has no environment yet.", hint="invoke up")
    if is_copy(state, settings.root):
        raise DrydockError(f"This folder is a copy of {state.root}, whose environment is not ours.", hint="invoke up")
    return Environment(settings, state)


def open_or_create(settings: Settings) -> tuple[Environment, str]:
    """The environment of this checkout, recorded anew where there is none; with a note for the user, or "".

    A folder that was moved keeps its environment. A copied one gets its own: what came along is set aside.
    """
    file, note = StateFile(settings.folder), ""
    state = file.read()
    if state is not None and is_copy(state, settings.root):
        kept = settings.folder.rename(_free_name(settings.root / f".drydock-of-{state.checkout}"))
        note = f"This folder is a copy of {state.root} and gets its own environment; what came along is in {kept.name}."
        state = None
    file.prepare()
    if state is None:
        state = file.write(create(settings.root, settings.project.name))
    elif state.root != str(settings.root):
        note = f"This checkout moved here from {state.root}; its environment came with it."
        state = file.update(state, root=str(settings.root))
    return Environment(settings, state), note


def refuse_in_production(settings: Settings, task: str) -> None:
    """Stop a task that could destroy data.

    Raises:
        RefusedError: where APP_ENV=production.
    """
    if settings.production:
        raise RefusedError(
            f"`invoke {task}` can destroy data and APP_ENV is production.",
            hint="Unset APP_ENV, or set it to development.",
        )


def _free_name(path: Path) -> Path:
    candidates = (path, *(path.with_name(f"{path.name}-{n}") for n in range(2, 1000)))
    return next(candidate for candidate in candidates if not candidate.exists())
