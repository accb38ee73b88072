"""The environment of one checkout: settings, state and engine together; what every task receives."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from drydock.checkout import Checkout, never_up
from drydock.errors import DrydockError, RefusedError
from drydock.settings import Settings, load
from drydock.state import State, StateFile, create, is_copy

if TYPE_CHECKING:
    from pathlib import Path

    from drydock.engine import Engine


class Environment(Checkout):
    """A checkout with its engine, made on first use."""

    def __init__(self, settings: Settings, state: State) -> None:
        super().__init__(settings, state)
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

    def at(self, volume: str, port: int) -> Environment:
        """This environment with the server on a volume beside, which listens on `port`, for its Postgres.

        The same Redis, the same settings and the same system identifier; what is recorded there is not written down.
        """
        return _Elsewhere(self, volume, port)


class _Elsewhere(Environment):
    def __init__(self, home: Environment, volume: str, port: int) -> None:
        # Nothing that runs beside is archived.
        super().__init__(replace(home.settings, wal_archive=False), replace(home.state, postgres_port=port))
        self._engine = home.engine.beside.at(self, volume)

    def record(self, **changes: Any) -> None:
        """Change the state for this task alone."""
        self.state = replace(self.state, **changes)


def open_existing(root: Path | None = None, *, started: bool = True) -> Environment:
    """The environment that an earlier `up` made.

    Args:
        root: the checkout; found from the working directory by default.
        started: off where one will do whose servers were never started. It has no ports, and may have branches.

    Raises:
        DrydockError: where there is none yet, or this folder is a copy of another checkout.
    """
    settings = load(root)
    state = StateFile(settings.folder).read()
    if state is None or not state.engine:
        raise never_up()
    if is_copy(state, settings.root):
        raise DrydockError(f"This folder is a copy of {state.root}, whose environment is not ours.", hint="invoke up")
    if started and not state.postgres_port:
        raise never_up()
    return Environment(settings, state)


def cluster_of(settings: Settings) -> str:
    """The system identifier of this checkout's own cluster; empty where it has none yet. Nothing is written."""
    state = StateFile(settings.folder).read()
    return "" if state is None or is_copy(state, settings.root) else state.system_identifier


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
