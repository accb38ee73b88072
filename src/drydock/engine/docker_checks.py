"""What `doctor` asks of Docker: versions, images, the volume's Postgres major, and who else can read it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drydock.checks import Check, Status
from drydock.engine import MAJOR, POSTGRES, SERVICES, compose
from drydock.images.resolve import configured, major_of, present

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drydock.engine.docker import DockerEngine

MODERN = 25  # the first major with health checks' start_interval


def checks(engine: DockerEngine) -> list[Check]:
    """Every check of the engine itself."""
    return [_engine(engine), _compose(), *_images(engine), _volume(engine)]


def _engine(engine: DockerEngine) -> Check:
    if int(engine.version.split(".")[0]) < MODERN:
        return Check(
            "docker:engine",
            Status.WARN,
            f"{engine.version} works; health checks are quicker from {MODERN} on",
            "Update Docker.",
        )
    return Check("docker:engine", Status.PASS, engine.version)


def _compose() -> Check:
    return Check("docker:compose", Status.PASS, ".".join(map(str, compose.version())))


def _images(engine: DockerEngine) -> Iterator[Check]:
    for service in SERVICES:
        used, wanted = engine.checkout.state.images.get(service, ""), configured(engine.checkout, service)
        if not used or not present(engine.client, used):
            yield Check(
                f"docker:{service}",
                Status.FAIL,
                f"image {used or wanted} is not here",
                "invoke images.pull, or invoke images.build",
            )
        elif used != wanted:
            yield Check(
                f"docker:{service}",
                Status.WARN,
                f"{used} stands in for {wanted}",
                "invoke images.pull, once the registry can be reached",
            )
        else:
            yield Check(f"docker:{service}", Status.PASS, used)


def _volume(engine: DockerEngine) -> Check:
    held = engine.volume_major()
    image = engine.checkout.state.images.get(POSTGRES, "")
    if held is None:
        return Check("docker:volume", Status.PASS, "no data yet")
    runs = major_of(engine.client, image) if image else MAJOR
    if held != (runs or MAJOR):
        return Check(
            "docker:volume",
            Status.FAIL,
            f"data of Postgres {held}, image of {runs}",
            "Set POSTGRES_IMAGE in .env to the data's major.",
        )
    return Check("docker:volume", Status.PASS, f"data of Postgres {held}")
