from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from drydock.errors import BusyError
from drydock.lock import locked

if TYPE_CHECKING:
    from pathlib import Path

HOLD = """
import pathlib, sys
from drydock.lock import locked
with locked(pathlib.Path(sys.argv[1]), "up", timeout=5, report=print):
    print("held", flush=True)
    sys.stdin.read()
"""


def hold(folder: Path) -> subprocess.Popen[str]:
    """Another process that holds the lock until its standard input closes."""
    command = [sys.executable, "-c", HOLD, str(folder)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def end(process: subprocess.Popen[str]) -> None:
    process.communicate(timeout=10)


def test_a_held_lock_names_its_holder(tmp_path: Path) -> None:
    """Who waits is told for whom, and who waits too long is told by whom."""
    other = hold(tmp_path)
    told: list[str] = []
    with (
        pytest.raises(BusyError, match=f"invoke up, process {other.pid}"),
        locked(tmp_path, "down", timeout=0.2, report=told.append),
    ):
        raise AssertionError
    end(other)
    assert told == [f"waiting for invoke up, process {other.pid}"]


def test_the_lock_is_free_after_a_kill(tmp_path: Path) -> None:
    """SIGKILL of the holder frees it: there is no stale lock."""
    other = hold(tmp_path)
    os.kill(other.pid, signal.SIGKILL)
    end(other)
    with locked(tmp_path, "down", timeout=0, report=pytest.fail):
        assert "invoke down" in (tmp_path / "lock").read_text()


def test_one_after_the_other(tmp_path: Path) -> None:
    """A waiter gets the lock as soon as the holder lets go."""
    other = hold(tmp_path)
    told: list[str] = []

    def release(line: str) -> None:
        told.append(line)
        end(other)

    with locked(tmp_path, "down", timeout=10, report=release):
        assert len(told) == 1
