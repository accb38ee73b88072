"""What both engines tell a server beside the environment's own, and the programs that deal with it."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from contextlib import suppress
from typing import TYPE_CHECKING

from drydock import pipes
from drydock.checkout import SUPERUSER
from drydock.errors import EngineError
from drydock.fault_points import Point, reached

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import BinaryIO

CHUNK = 1 << 20
RECORD = str(CHUNK // 512)  # what tar reads at once, in blocks
PORT = 5432
# A server that begins with a backup's files puts them on disk first, one by one unless told otherwise (manual 20.14):
# 4.3 s become 0.4 s on a busy disk. Linux has the call that does it for the whole file system.
SYNC = ("recovery_init_sync_method=syncfs",)
# For a server that no network reaches: its socket is in a folder, or a container, that only those can enter who may
# read its files anyway. What the passwords were at the moment it goes back to need not be known.
HBA_FILE = "pg_hba-beside.conf"
HBA = f"local all {SUPERUSER} trust\n"
PSQL = ("-X", "-A", "-t", "-q", "-w", "-v", "ON_ERROR_STOP=1", "-U", SUPERUSER)


def feed(command: Sequence[str], content: BinaryIO, volume: str) -> None:
    """Run tar on an archive, and wait for it. Where that comes through a pipe, tar gets the pipe itself.

    Raises:
        EngineError: with what tar said, where it fails.
    """
    # A file for what it says: a pipe that nobody empties meanwhile would stop it.
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen(
            command, stdin=pipes.descriptor(content) or subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=said
        ) as process,
    ):
        try:
            reached(Point.REWIND_FILLING)
            if process.stdin:
                pipes.enlarge(process.stdin)
                # Where tar ends early, it says why.
                with suppress(BrokenPipeError), process.stdin:
                    shutil.copyfileobj(content, process.stdin, CHUNK)
            code = process.wait()
        except BaseException:
            process.kill()
            raise
        said.seek(0)
        lines = said.read().decode(errors="replace").strip().splitlines()
    if code:
        reason = lines[0] if lines else f"exit code {code}"
        raise EngineError(f"Could not write to the volume {volume}: {reason}.", hint="invoke doctor")


def answer(process: subprocess.Popen[bytes], script: str) -> str:
    """What psql prints for a script.

    Raises:
        EngineError: with what the server said, where a statement fails.
    """
    out, err = process.communicate(script.encode())
    if process.returncode:
        lines = err.decode(errors="replace").strip().splitlines()
        reason = next((line for line in lines if "ERROR" in line or "FATAL" in line), lines[-1] if lines else "")
        raise EngineError(f"The server beside refused: {reason.rpartition('ERROR:  ')[2].strip().rstrip('.')}.")
    return out.decode()
