"""Programs that are left in the middle."""

from __future__ import annotations

import subprocess

import pytest

from drydock.backup.pg_program import ending


@pytest.mark.timeout(20)
def test_a_program_ends_that_is_busy_writing_when_it_is_left() -> None:
    """Even one that puts off SIGTERM until its output is gone, as `docker run` does: the pipe is closed first."""
    program = subprocess.Popen(["/bin/sh", "-c", "trap '' TERM; exec yes"], stdout=subprocess.PIPE)
    assert program.stdout is not None
    assert program.stdout.readline() == b"y\n"
    with pytest.raises(LookupError), ending(program):
        raise LookupError
    assert program.returncode is not None
