"""images.pull, images.build, images.list, images.prune."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from invoke.collection import Collection

from drydock.console import seconds, size, table
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


@command()
def list_(console: Console, json: bool = False) -> None:
    """The local images, newest first: how large, and why each is still needed."""
    from drydock.images.local import images

    found = images(_client())
    rows = [(i.tag, i.made[:16].replace("T", " "), size(i.size), i.needed or "nothing needs it") for i in found]
    data = {"images": [image.__dict__ for image in found]}
    console.result(data, table(rows) if rows else ["There is no local image."])


@command(help={"dry-run": "Only say what would go."})
def prune(console: Console, dry_run: bool = False, json: bool = False) -> None:
    """Remove the local images that no container uses and the installed wheels do not make any more."""
    from drydock.images import local as work

    doomed = [image for image in work.images(_client()) if not image.needed] if dry_run else work.prune(_client())
    verb = "would go" if dry_run else "removed"
    lines = [f"{verb}: {image.tag}  {size(image.size)}" for image in doomed]
    data = {"dry_run": dry_run, "images": [image.__dict__ for image in doomed]}
    console.result(data, lines or ["Every local image is needed."])


def group() -> Collection:
    """`images.build`, `images.pull`, `images.list` and `images.prune`."""
    collection = Collection("images")
    for one in (build, pull, prune):
        collection.add_task(one)
    collection.add_task(list_, name="list")
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
