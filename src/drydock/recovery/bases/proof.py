"""Proving a base backup: unpacked beside, and every file compared with what the server sent, by pg_verifybackup.

It compares each file with the manifest's checksum and reads the WAL that the backup needs, record by record.
"""

from __future__ import annotations

import os
import shutil
import tarfile
import time
from importlib.metadata import version
from typing import TYPE_CHECKING, BinaryIO

from drydock.backup import encryption, pg_program, workspace
from drydock.errors import DrydockError, word
from drydock.fault_points import Point, reached
from drydock.recovery.bases import base, base_manifest
from drydock.recovery.bases.base_manifest import Proof

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from drydock.environment import Environment
    from drydock.recovery.bases.base import Base

FOLDER = "base"
# Files of the cluster end on pages, so that little is lost to the file system's blocks.
ROOM = 1.1


def verify(environment: Environment, which: Base, *, now: datetime) -> Proof:
    """Unpack a base backup beside and compare; it counts as proven from then on.

    Raises:
        DrydockError: where it is damaged, cannot be decrypted, or there is no room to unpack it: it stays unproven.
    """
    begun = time.monotonic()
    sealing = encryption.sealing(environment.settings)
    encryption.check_identity(sealing, which.manifest.recipients)
    with workspace.working_in(which.path.parent) as work:
        _refuse_full_disk(work, which)
        with base.unpacked(which, sealing) as stream:
            lay_out(stream, work / FOLDER)
        reached(Point.BASE_UNPACKED)
        process = environment.engine.tool("pg_verifybackup", ["--quiet", FOLDER], folder=work)
        with pg_program.ending(process):
            pg_program.follow(process, "pg_verifybackup", lambda _line: None)
    proof = Proof(
        identity=which.manifest.identity,
        when=now.isoformat(timespec="seconds"),
        tool=version("drydock"),
        seconds=round(time.monotonic() - begun, 3),
    )
    base_manifest.write_proof(proof, which.path)
    reached(Point.BASE_PROVEN)
    return proof


def lay_out(stream: BinaryIO, folder: Path) -> None:
    """Write a tar archive's folders and files below `folder`, which is made: mode 0700 and 0600.

    Raises:
        DrydockError: where it is cut off or altered, or holds anything else.
    """
    folder.mkdir(mode=0o700)
    try:
        with tarfile.open(fileobj=stream, mode="r|", errorlevel=2) as tar:
            for member in tar:
                _lay_out(tar, member, folder)
    except tarfile.TarError as error:
        raise DrydockError(f"The base backup is cut off or altered as a tar archive ({error}).") from error


def _lay_out(tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    path = folder / member.name
    if ".." in path.parts or not path.is_relative_to(folder) or not (member.isdir() or member.isreg()):
        raise DrydockError(f"The base backup holds {member.name!r}, which is neither file nor folder of a cluster.")
    if member.isdir():
        path.mkdir(mode=0o700, exist_ok=True)
        return
    content = tar.extractfile(member)
    assert content is not None
    with open(path, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        shutil.copyfileobj(content, file, 1 << 20)


def _refuse_full_disk(work: Path, which: Base) -> None:
    needed, free = int(which.manifest.unpacked * ROOM), shutil.disk_usage(work).free
    if free < needed:
        raise DrydockError(
            f"There is no room to unpack {which.name}: {needed:,} bytes are needed, {free:,} are free.",
            hint=f"Make room, then: invoke archive.verify; df -h {word(work.parent)}",
        )
