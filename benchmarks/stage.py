"""What the benchmarks run on: a checkout of this bundle, and the compose declaration of its stack."""

from __future__ import annotations

import os
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.measure import run
from drydock.engine.docker import DockerEngine
from drydock.files import spread
from drydock.recovery.upkeep import attendant
from drydock.settings import child_environment
from tests.checkout import Checkout

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

PATIENCE = 120  # seconds


@contextmanager
def checkout(engine: str) -> Iterator[Checkout]:
    """A checkout in a folder of its own, up, migrated and seeded small; gone afterwards with all it started.

    Its .env names the images that the first `up` resolved: what is measured has its images present, whether a
    registry can be reached or not.
    """
    with tempfile.TemporaryDirectory(prefix="drydock-benchmark-") as folder:
        spread(Path(folder))  # for the data directories that peers fill beside it, as for drydock's own
        made = Checkout(Path(folder) / "dock", ENGINE=engine, WAL_ARCHIVE="on")
        try:
            made.run("up")
            images = made.environment.state.images
            if images:
                made.configure(**{f"{service.upper()}_IMAGE": image for service, image in images.items()})
                made.run("up")
            _await_attendant(made)
            yield made
        finally:
            made.remove()


def _await_attendant(made: Checkout) -> None:
    """Until the first base backup has been taken and proven, which goes on beside whatever would be measured."""
    settings, deadline = made.environment.settings, time.monotonic() + PATIENCE
    while (doing := attendant.look(settings)) is None or doing.working:
        if time.monotonic() > deadline:
            raise RuntimeError(f"The first base backup is not there after {PATIENCE} s: {doing}")
        time.sleep(0.05)


class Declaration:
    """A compose project: the files and variables that `docker compose` is called with."""

    def __init__(self, files: Sequence[Path], variables: Mapping[str, str]) -> None:
        self.files = files
        self.variables = dict(variables)

    @classmethod
    def of(cls, checkout: Checkout) -> Declaration:
        """The very declaration a checkout's stack was started from."""
        engine = checkout.environment.engine
        assert isinstance(engine, DockerEngine)
        compose = engine.declaration()
        return cls(compose.files, compose.variables)

    @property
    def environment(self) -> dict[str, str]:
        """The process environment of a `docker compose` call."""
        return child_environment(self.variables)

    def command(self, *arguments: str) -> list[str]:
        """A `docker compose` call for this project."""
        files = [part for path in self.files for part in ("--file", str(path))]
        return ["docker", "compose", "--env-file", os.devnull, *files, *arguments]

    def compose(self, *arguments: str) -> str:
        """Call `docker compose` for this project; returns what it printed."""
        return run(self.command(*arguments), environment=self.environment)
