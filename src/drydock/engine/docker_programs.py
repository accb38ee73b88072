"""Client programs of the docker engine: inside the server's container, or beside it with a folder of the host."""

from __future__ import annotations

import csv
import io
import os
import subprocess
import tarfile
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from drydock.checkout import Checkout

PASSWORDS = "/run/secrets/pgpass"
FOLDER = "/exchange"
TOOL = "io.drydock.tool"


def inside(container: Any, connection: Sequence[str], program: str, arguments: Sequence[str]) -> list[str]:
    """The command that runs a program in the server's own container."""
    return ["docker", "exec", "--interactive", *connection, container.id, program, *arguments]


def beside(container: Any, connection: Sequence[str], label: str, mounts: dict[Path, str]) -> list[str]:
    """The beginning of a command for a container of the server's image, in its network, with folders of the host.

    What is left to say: the user, the entry point and the image.
    """
    return [*_container(label, mounts), f"--network=container:{container.id}", *connection]


def alone(checkout: Checkout, folder: Path, user: str) -> list[str]:
    """The beginning of a command for a container without a network, as `user`, that has nothing but a folder.

    What is left to say: the entry point and the image.
    """
    label = f"{TOOL}={checkout.state.checkout}"
    return [*_container(label, {folder.absolute(): FOLDER}), "--network=none", "--env=TZ=UTC", f"--user={user}"]


def _container(label: str, mounts: dict[Path, str]) -> list[str]:
    folders = [part for source, target in mounts.items() for part in ("--mount", _mount(source, target))]
    return [
        "docker",
        "run",
        "--rm",
        "--interactive",
        "--init",
        "--pull=never",
        "--cap-drop=ALL",
        "--security-opt=no-new-privileges",
        "--log-driver=none",
        f"--label={label}",
        f"--workdir={FOLDER}",
        *folders,
    ]


def host_user(security_options: Sequence[str]) -> str:
    """The calling user, as `docker run --user` takes it: a rootless engine's user is the root of its containers."""
    rootless = any("rootless" in option for option in security_options)
    return "0:0" if rootless else f"{os.getuid()}:{os.getgid()}"


def only_file(archive: bytes) -> bytes:
    """The content of the single file in a tar archive, which is how Docker hands a file out."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        stream = tar.extractfile(tar.getmembers()[0])
        return stream.read() if stream else b""


def start(command: list[str], stdin: int | None, stdout: int | None) -> subprocess.Popen[bytes]:
    """Start a Docker command that outlives its task only while it works: it keeps the locks it was given open."""
    return subprocess.Popen(command, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, close_fds=False)


def _mount(source: Path, target: str) -> str:
    """One `--mount` value: a line of CSV, so that a path may hold commas and quotes (docker run's reference)."""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(["type=bind", f"source={source}", f"target={target}"])
    return line.getvalue()
