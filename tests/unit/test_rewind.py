"""What is laid beside a base backup."""

from __future__ import annotations

import contextlib
import io
import tarfile
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import pytest

from drydock.errors import RefusedError
from drydock.recovery.restores import going_back, rewind

if TYPE_CHECKING:
    from collections.abc import Iterator


class Volume:
    """Keeps what is written to it."""

    def __init__(self) -> None:
        self.content = io.BytesIO()

    def write(self, _volume: str, content: BinaryIO) -> None:
        """All of it."""
        while data := content.read(1 << 16):
            self.content.write(data)


@contextlib.contextmanager
def opened() -> Iterator[BinaryIO]:
    yield io.BytesIO(b"x" * 1000)


def test_wal_brings_its_folder_along() -> None:
    """The base backup is extracted at the same time, and of two tars that make the folder at once one may fail."""
    volume = Volume()
    rewind._lay(cast("Any", volume), "volume", [rewind.Piece("000000010000000000000001", 1000, opened)])
    volume.content.seek(0)
    with tarfile.open(fileobj=volume.content) as archive:
        found = [(member.name, member.isdir(), member.mode) for member in archive]
    assert found == [("pg_wal", True, 0o700), ("pg_wal/000000010000000000000001", False, 0o600)]


def test_a_server_beside_with_a_half_dropped_database_is_refused() -> None:
    """It is named, and nothing is put in place; one that drydock drops for itself is no loss."""
    archive = cast("Any", SimpleNamespace(system_identifier="7"))
    paused = rewind.Paused("volume", 0, "7", "", dropped=("app__leaving", "second"))
    with pytest.raises(RefusedError, match="cannot be stopped halfway: second\\."):
        going_back._prove(paused, archive, "app")
    going_back._prove(replace(paused, dropped=("app__leaving",)), archive, "app")
