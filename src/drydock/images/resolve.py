"""Which image a service runs: the one that is there, else a pulled one, else one built from the installed wheels."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from docker.errors import APIError, DockerException, ImageNotFound, NotFound

from drydock.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Callable

    import docker

    from drydock.checkout import Checkout

DEFAULTS = {"postgres": "pgvector/pgvector:pg16", "redis": "redis:7-alpine"}
# What the engine says where no registry can be reached, as opposed to one that answered "no".
UNREACHABLE = re.compile(
    r"no such host|dial tcp|i/o timeout|connection refused|network is unreachable|Client\.Timeout|TLS handshake"
    r"|proxyconnect|temporary failure in name resolution|server misbehaving|EOF|no route to host",
    re.IGNORECASE,
)


def configured(checkout: Checkout, service: str) -> str:
    """The image the settings name for `service`."""
    settings = checkout.settings
    return settings.postgres_image if service == "postgres" else settings.redis_image


def resolve(client: docker.DockerClient, checkout: Checkout, service: str, report: Callable[[str], None]) -> str:
    """The image to start `service` from, present on the engine.

    A local image stands in only for a default image: an image that a project names itself is not replaced.

    Raises:
        ImageError: where it is not there and can be neither pulled nor built.
    """
    wanted, mode = configured(checkout, service), checkout.settings.images
    recorded = checkout.state.images.get(service, "")
    if mode != "build":
        if present(client, wanted):
            return wanted
        if mode == "auto" and wanted == DEFAULTS[service] and recorded.startswith("drydock-local/"):
            # Once a local image stands in, no start asks the registry again; `invoke images.pull` does.
            return build_local(client, service, report)
        try:
            return pull(client, wanted, report)
        except ImageError as error:
            if mode == "pull" or wanted != DEFAULTS[service]:
                raise
            report(f"{error.message.rstrip('.')}: building a local image from the installed wheels")
    return build_local(client, service, report)


def present(client: docker.DockerClient, reference: str) -> bool:
    """True where the engine has the image."""
    try:
        client.images.get(reference)
    except ImageNotFound:
        return False
    return True


def pull(client: docker.DockerClient, reference: str, report: Callable[[str], None]) -> str:
    """Pull an image, reporting the progress of its layers; returns the reference.

    Raises:
        ImageError: where the registry cannot be reached or does not have it.
    """
    report(f"pulling {reference}")
    layers: dict[str, tuple[int, int]] = {}
    try:
        repository, _, tag = (
            reference.rpartition(":") if ":" in reference.rsplit("/", 1)[-1] else (reference, "", "latest")
        )
        for event in client.api.pull(repository, tag=tag, stream=True, decode=True):
            if "error" in event:
                raise ImageError(_pull_sentence(reference, event["error"]), hint=_pull_hint(reference))
            _progress(event, layers, reference, report)
    except (APIError, NotFound, DockerException, OSError) as error:
        reason = str(getattr(error, "explanation", None) or error)
        raise ImageError(_pull_sentence(reference, reason), hint=_pull_hint(reference)) from error
    return reference


def build_local(client: docker.DockerClient, service: str, report: Callable[[str], None]) -> str:
    """Build, or find built, the local image of `service`; returns its tag."""
    from drydock.images.build import build

    return build(client, service, report=report).tag


def major_of(client: docker.DockerClient, reference: str) -> int | None:
    """The Postgres major an image says it carries; None where it says nothing."""
    configuration = client.images.get(reference).attrs["Config"]
    variables = dict(item.split("=", 1) for item in configuration.get("Env") or ())
    text = variables.get("PG_MAJOR") or (configuration.get("Labels") or {}).get("drydock.postgres.version", "")
    return int(text.split(".")[0]) if text else None


def _progress(
    event: dict[str, Any], layers: dict[str, tuple[int, int]], reference: str, report: Callable[[str], None]
) -> None:
    detail = event.get("progressDetail") or {}
    if event.get("status") != "Downloading" or not detail.get("total"):
        return
    before = _percent(layers)
    layers[event["id"]] = (detail["current"], detail["total"])
    if _percent(layers) >= before + 10 or before == 0:
        total = sum(size for _, size in layers.values()) / 1e6
        report(f"pulling {reference}: {_percent(layers)} % of {total:.0f} MB")


def _percent(layers: dict[str, tuple[int, int]]) -> int:
    total = sum(size for _, size in layers.values())
    return 100 * sum(done for done, _ in layers.values()) // total if total else 0


def _pull_sentence(reference: str, reason: str) -> str:
    if UNREACHABLE.search(reason):
        return f"The registry of {reference} cannot be reached."
    return f"{reference} cannot be pulled: {reason.rstrip('.')}."


def _pull_hint(reference: str) -> str:
    return f"Check the name, or log in: docker pull {reference}"
