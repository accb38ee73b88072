"""Pipes between programs."""

from __future__ import annotations

import fcntl
import io
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from drydock import pipes

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a program ask")
def test_a_pipe_holds_more() -> None:
    """As much as Linux allows every user."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as stream, os.fdopen(writing, "wb"):
        pipes.enlarge(stream)
        assert fcntl.fcntl(reading, fcntl.F_GETPIPE_SZ) >= pipes.SIZE


def test_only_a_pipe_is_handed_to_another_program(tmp_path: Path) -> None:
    """A file has a descriptor too, but may have been read from; what is in memory has none."""
    (tmp_path / "file").write_bytes(b"x")
    with (tmp_path / "file").open("rb") as file:
        assert pipes.descriptor(file) is None
    assert pipes.descriptor(io.BytesIO(b"x")) is None
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as stream:
        with os.fdopen(writing, "wb") as target:
            target.write(b"content")
        found = pipes.descriptor(stream)
        assert subprocess.run(["cat"], stdin=found, capture_output=True, check=True).stdout == b"content"
