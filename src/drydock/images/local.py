"""The local images that an engine has, and taking away those that nothing needs any more.

Each version of the wheels, and of what drydock adds to them, makes an image with a tag of its own; a start always uses
the one that the installed wheels make. The others only take room.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from drydock.engine import SERVICES
from drydock.engine.docker_answers import failing
from drydock.errors import ImageError
from drydock.images.build import MARK, local_tag

if TYPE_CHECKING:
    import docker

WANTED = "the installed wheels make it"


@dataclass(frozen=True)
class LocalImage:
    """One that was built here.

    Attributes:
        tag: its name.
        made: when, UTC, ISO 8601.
        size: bytes; images share layers, so that removing one may free less.
        needed: why it stays, as a clause; empty where nothing needs it.
    """

    tag: str
    made: str
    size: int
    needed: str


def images(client: docker.DockerClient) -> list[LocalImage]:
    """All of them, newest first.

    Raises:
        EngineError: where Docker does not answer.
    """
    current = _current()
    with failing("list the local images"):
        users = _users(client)
        found = [
            LocalImage(
                tag=tag,
                made=image.attrs["Created"],
                size=int(image.attrs["Size"]),
                needed=WANTED if tag in current else users.get(image.id, ""),
            )
            for image in client.images.list(filters={"label": f"{MARK}=true"})
            for tag in image.tags
        ]
    return sorted(found, key=lambda image: image.made, reverse=True)


def prune(client: docker.DockerClient) -> list[LocalImage]:
    """Remove those that are not needed; returns them.

    Raises:
        EngineError: where Docker refuses one, as when a container has begun to use it meanwhile.
    """
    doomed = [image for image in images(client) if not image.needed]
    for image in doomed:
        with failing(f"remove {image.tag}"):
            client.images.remove(image.tag)
    return doomed


def _current() -> set[str]:
    """The tags that a start would use; none where this machine cannot build any."""
    try:
        return {local_tag(service) for service in SERVICES}
    except ImageError:
        return set()


def _users(client: docker.DockerClient) -> dict[str, str]:
    """Why an image stays, by its id: a container of it is there, whether it runs or not."""
    containers = client.containers.list(all=True, ignore_removed=True)
    return {container.attrs["Image"]: f"the container {container.name} uses it" for container in containers}
