"""A run of pg_waldump that ends without a word."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, cast

import pytest

from drydock.errors import DrydockError
from drydock.recovery.wal import waldump

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from drydock.engine import Engine

END = "echo 'pg_waldump: error: could not find a valid record after 0/9000000' >&2; exit 1"


class Scripts:
    """What is run in place of pg_waldump: one shell script after another."""

    def __init__(self, *scripts: str) -> None:
        self.left = list(scripts)

    def tool(self, _program: str, _words: Sequence[str], *, folder: Path, stdout: int) -> subprocess.Popen[bytes]:
        """The next one."""
        return subprocess.Popen(["sh", "-c", self.left.pop(0)], cwd=folder, stdout=stdout, stderr=subprocess.PIPE)


def read(folder: Path, scripts: Scripts) -> str:
    """What is told of the WAL's end."""
    return waldump.unreadable(cast("Engine", scripts), folder, 1, 0, 1)


def test_one_that_was_ended_before_it_said_anything_is_run_once_more(tmp_path: Path) -> None:
    """The second one's answer counts."""
    assert "valid record" in read(tmp_path, Scripts("kill -KILL $$", END))


@pytest.mark.parametrize(
    ("scripts", "told"),
    [
        (["exit 3", "exit 3", END], "code 3 and said nothing"),
        (["echo a record; exit 3", END], "code 3 and said nothing"),
        (["echo no memory >&2; exit 1", END], "no memory"),
    ],
)
def test_nothing_else_is_run_again(tmp_path: Path, scripts: list[str], told: str) -> None:
    """Not a second time, not what has told of records, not what says why it failed."""
    programs = Scripts(*scripts)
    with pytest.raises(DrydockError, match=told):
        read(tmp_path, programs)
    assert programs.left == [END]
