"""Local images for machines that reach no registry: built from the installed wheels, with the official contract."""

from __future__ import annotations

import io
import platform
import tarfile
import tempfile
import time
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from docker.errors import DockerException, ImageNotFound
from requests.exceptions import RequestException

from drydock.errors import ImageError
from drydock.images import contents
from drydock.images.loader import HINT

if TYPE_CHECKING:
    from collections.abc import Callable

    import docker

REPOSITORY = "drydock-local"
MARK = "drydock.local"  # the label of every image that is built here
# Docker's names of what platform.machine() says.
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64", "ppc64le": "ppc64le"}


@dataclass(frozen=True)
class BuiltImage:
    """An image that is there: its size in bytes, and how long it took to build or to find."""

    tag: str
    image_id: str
    size: int
    seconds: float
    reused: bool


def build(client: docker.DockerClient, service: str, *, report: Callable[[str], None]) -> BuiltImage:
    """Build the image of `service` ("postgres" or "redis"), or find the one built before from the same files.

    A build that is interrupted leaves no tag behind.

    Raises:
        ImageError: where the wheels or a program of the host are missing, where the host is not a glibc Linux of the
            engine's architecture, or where the engine refuses the build.
    """
    start = time.monotonic()
    _check_host()
    parts = _contents(service)
    tag = _tag(service, parts)
    try:
        reused = _is_there(client, tag)
        if not reused:
            _check_engine(client)
            report(f"building {tag} from the installed wheels")
            _send(client, service, tag, parts)
        image = client.images.get(tag)
    except (DockerException, RequestException) as error:
        raise ImageError(f"The engine did not build {tag}: {error}.", hint=HINT) from error
    return BuiltImage(tag, str(image.id), int(image.attrs["Size"]), time.monotonic() - start, reused)


def local_tag(service: str) -> str:
    """The tag that names everything the image of `service` is made of; another wheel or tool gives another tag.

    Raises:
        ImageError: as `build` does, but for the engine.
    """
    _check_host()
    return _tag(service, _contents(service))


def _contents(service: str) -> contents.Contents:
    return {"postgres": contents.postgres, "redis": contents.redis}[service]()


def _tag(service: str, parts: contents.Contents) -> str:
    parts.tree.file("/usr/share/drydock/Dockerfile", contents.HERE / service / "Dockerfile")
    return f"{REPOSITORY}/{service}:{parts.version}-{parts.tree.fingerprint()[:12]}"


def _is_there(client: docker.DockerClient, tag: str) -> bool:
    try:
        client.images.get(tag)
    except ImageNotFound:
        return False
    return True


def _check_host() -> None:
    if platform.system() != "Linux":
        raise ImageError(
            f"Local images are built from Linux programs, and this host is {platform.system()}.", hint=HINT
        )


def _check_engine(client: docker.DockerClient) -> None:
    engine = client.version()
    here = ARCHITECTURES.get(platform.machine(), platform.machine())
    if (engine["Os"], engine["Arch"]) != ("linux", here):
        theirs = f"{engine['Os']}/{engine['Arch']}"
        raise ImageError(f"The wheels here are for linux/{here} and the engine runs {theirs}.", hint=HINT)


def _send(client: docker.DockerClient, service: str, tag: str, parts: contents.Contents) -> None:
    with tempfile.TemporaryFile() as files, tempfile.TemporaryFile() as context:
        parts.tree.write(files)
        _context(context, (contents.HERE / service / "Dockerfile").read_bytes(), files)
        stream = client.api.build(
            fileobj=context,
            custom_context=True,
            tag=tag,
            labels=_labels(service, parts),
            rm=True,
            forcerm=True,
            decode=True,
        )
        for event in stream:
            if "error" in event:
                raise ImageError(f"The engine did not build {tag}: {event['error']}.", hint=HINT)


def _context(context: IO[bytes], dockerfile: bytes, files: IO[bytes]) -> None:
    """Write a build context of two members and rewind it."""
    with tarfile.open(fileobj=context, mode="w") as archive:
        for name, member in (("Dockerfile", io.BytesIO(dockerfile)), ("rootfs.tar", files)):
            header = tarfile.TarInfo(name)
            header.size = member.seek(0, io.SEEK_END)
            member.seek(0)
            archive.addfile(header, member)
    context.seek(0)


def _labels(service: str, parts: contents.Contents) -> dict[str, str]:
    return {
        "org.opencontainers.image.title": f"drydock local {service}",
        "org.opencontainers.image.description": f"{service} {parts.version}, built from the installed wheels",
        "org.opencontainers.image.version": parts.version,
        "org.opencontainers.image.vendor": "drydock",
        MARK: "true",
        **parts.labels,
    }
