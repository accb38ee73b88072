"""What this checkout owns: .drydock/state.json, its identity, and what happens when the folder was copied or moved."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from drydock.errors import DrydockError, word
from drydock.files import write_atomic

VERSION = 1


@dataclass(frozen=True, kw_only=True)
class State:
    """The recorded facts of one environment.

    Attributes:
        checkout: random identity of this environment; also its containers' and volumes' label.
        root: where the checkout was when it was last used.
        name: what its containers, volumes and network begin with.
        engine: `docker` or `embedded`; empty before the first `up`.
        engine_reason: why that one was chosen.
        postgres_port: on 127.0.0.1; 0 before the first `up`.
        redis_port: on 127.0.0.1; 0 before the first `up`.
        system_identifier: the cluster's, as pg_control_system() has it; empty before it was first read.
        incarnation: which life of the cluster runs; each has its own volume.
        part: the part of the WAL archive that is being written (recovery/archive/folders.py); empty before the archiver
            was first started.
        images: the image each service runs, by service.
        started_with: hash of everything the engine was started with.
        runs: identity of the image or wheel that runs the database.
        heads: newest revisions of the migration files, by a hash of those files.
    """

    checkout: str
    root: str
    name: str
    engine: str = ""
    engine_reason: str = ""
    postgres_port: int = 0
    redis_port: int = 0
    system_identifier: str = ""
    incarnation: int = 1
    part: str = ""
    images: dict[str, str] = field(default_factory=dict)
    started_with: str = ""
    runs: str = ""
    heads: dict[str, list[str]] = field(default_factory=dict)
    version: int = VERSION


class StateFile:
    """The state of one checkout on disk; each change replaces the file whole."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "state.json"

    def read(self) -> State | None:
        """The recorded state, or None before the first `up`.

        Raises:
            DrydockError: where the file is damaged or of a newer drydock.
        """
        try:
            raw = json.loads(self.path.read_text(encoding="utf-8"))
            return _parse(raw)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as error:
            raise DrydockError(
                f"Cannot use {self.path}: {error}.",
                hint=f"Move it away and run `invoke up`: mv {word(self.path)} {word(f'{self.path}.broken')}",
            ) from error

    def write(self, state: State) -> State:
        """Record `state` and return it."""
        write_atomic(self.path, json.dumps(asdict(state), indent=2) + "\n")
        return state

    def update(self, state: State, **changes: Any) -> State:
        """Record `state` with `changes`; writes nothing where they change nothing."""
        new = replace(state, **changes)
        return state if new == state else self.write(new)

    def prepare(self) -> None:
        """Make the folder: readable by its owner only, ignored by git."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        ignore = self.folder / ".gitignore"
        if not ignore.exists():
            write_atomic(ignore, "*\n", mode=0o644)


def create(root: Path, name: str) -> State:
    """A new identity for the checkout at `root`, of the project called `name`."""
    import secrets

    checkout = secrets.token_hex(4)
    slug = re.sub(r"[^a-z0-9]+", "-", (name or root.name).lower()).strip("-") or "checkout"
    return State(checkout=checkout, root=str(root), name=f"drydock-{slug[:30].strip('-')}-{checkout}")


def is_copy(state: State, root: Path) -> bool:
    """True where `root` came to its state by being copied: the folder it was copied from still has it.

    A folder that was moved instead keeps its environment.
    """
    if state.root == str(root):
        return False
    original = StateFile(Path(state.root) / ".drydock").read()
    return original is not None and original.checkout == state.checkout


def _parse(raw: Any) -> State:
    if not isinstance(raw, dict):
        raise TypeError("it is not a JSON object")
    if raw.get("version", 0) > VERSION:
        raise ValueError(f"it was written by a newer drydock (format {raw['version']}, this one reads {VERSION})")
    known = {f.name for f in fields(State)}
    return State(**{key: value for key, value in raw.items() if key in known})
