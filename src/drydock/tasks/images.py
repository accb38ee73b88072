"""images.pull, images.build, images.list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from invoke.collection import Collection

from drydock.console import seconds, size
from drydock.engine import SERVICES
from drydock.tasks.common import command, settings

if TYPE_CHECKING:
    from drydock.console import Console


@command()
def build(console: Console, json: bool = False) -> None:
    """Build local images of Postgres and Redis from the installed wheels, and use them from the next start on."""
    from drydock.images.build import build as work

    built = {service: work(_client(), service, report=console.step) for service in SERVICES}
    _use({service: image.tag for service, image in built.items()})
    lines = (f"{i.tag}  {size(i.size)}  {'was there' if i.reused else seconds(i.seconds)}" for i in built.values())
    console.result({service: image.__dict__ for service, image in built.items()}, lines)


@command()
def pull(console: Console, json: bool = False) -> None:
    """Pull the configured images and use them from the next start on."""
    from drydock.images.resolve import pull as work

    current = settings()
    wanted = {"postgres": current.postgres_image, "redis": current.redis_image}
    pulled = {service: work(_client(), reference, console.step) for service, reference in wanted.items()}
    _use(pulled)
    console.result(pulled, pulled.values())


def group() -> Collection:
    """`images.build` and `images.pull`."""
    collection = Collection("images")
    collection.add_task(build)
    collection.add_task(pull)
    return collection


def _client() -> Any:
    from drydock.engine.docker import connect

    return connect()


def _use(images: dict[str, str]) -> None:
    """Record the images for the next start, where this checkout has a docker environment."""
    from drydock.environment import Environment
    from drydock.state import StateFile

    current = settings()
    state = StateFile(current.folder).read()
    if state is not None and state.engine == "docker":
        Environment(current, state).record(images=images, started_with="")
