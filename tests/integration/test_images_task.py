"""images.list and images.prune, on an engine with images of earlier wheels."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

import docker
import pytest

from drydock.images import local
from drydock.images.build import REPOSITORY, local_tag

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.checkout import Checkout

pytestmark = pytest.mark.docker
# Not the mark of real ones: other tests, and whoever runs this, need theirs.
MARK = "drydock.test.local"
USER = f"drydock-test-{os.getpid()}"
OLD, USED = f"{REPOSITORY}/test:0.1-old", f"{REPOSITORY}/test:0.2-used"


@pytest.fixture
def client(docker_engine: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[docker.DockerClient]:
    """An engine that has two images of wheels which are not installed any more, and a container of one of them."""
    assert docker_engine
    monkeypatch.setattr(local, "MARK", MARK)
    client = docker.from_env()
    for tag in (OLD, USED):
        content = f"FROM scratch\nLABEL {MARK}=true drydock.test={tag}\nCMD x\n"
        for _event in client.api.build(fileobj=io.BytesIO(content.encode()), tag=tag, rm=True, decode=True):
            pass
    container = client.containers.create(USED, name=USER)
    yield client
    container.remove(v=True)
    for tag in {OLD, USED} & tags(client):
        client.images.remove(tag)
    client.close()


def test_images_that_nothing_needs_are_pruned(client: docker.DockerClient) -> None:
    """What a container uses stays, running or not; the rest goes, and only once."""
    assert {image.tag: image.needed for image in local.images(client)} == {
        OLD: "",
        USED: f"the container {USER} uses it",
    }
    assert [image.tag for image in local.prune(client)] == [OLD]
    assert {OLD, USED} & tags(client) == {USED}
    assert local.prune(client) == []


def test_what_the_wheels_make_is_needed(docker_engine: str, make_checkout: Callable[..., Checkout]) -> None:
    """Whether or not a container uses it; and a dry run removes nothing."""
    checkout = make_checkout(ENGINE=docker_engine)
    checkout.run("images.build")
    found = {image["tag"]: image for image in checkout.json("images.list")["images"]}
    for service in ("postgres", "redis"):
        assert found[local_tag(service)]["needed"] == "the installed wheels make it"
        assert found[local_tag(service)]["size"] > 1_000_000
    assert local_tag("redis") in checkout.run("images.list").stdout
    doomed = {image["tag"] for image in checkout.json("images.prune", "--dry-run")["images"]}
    assert not doomed & {local_tag("postgres"), local_tag("redis")}


def tags(client: docker.DockerClient) -> set[str]:
    """Those of all images."""
    return {tag for image in client.images.list() for tag in image.tags}
