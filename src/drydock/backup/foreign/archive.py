"""Archives of pg_dump (-Fc, -Fd) as the SQL script that pg_restore makes of them, without any server."""

from __future__ import annotations

import subprocess
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

from drydock.backup.foreign.source import CHUNK, damaged
from drydock.errors import DrydockError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drydock.backup.foreign.source import Readable
    from drydock.engine import Engine

CANNOT_UNPACK = "does not support compression"


@contextmanager
def script_of(engine: Engine, content: Readable | Path) -> Iterator[Readable]:
    """The script in an archive, as it comes out of pg_restore.

    Args:
        engine: has a pg_restore of the server's version.
        content: of an archive of the custom form; the folder of a directory dump.

    Its `read` raises DrydockError where the archive turns out to be damaged, at the latest at the end.
    """
    feeder = None
    if isinstance(content, Path):
        arguments = ["--file=-", "--format=d", "."]
        process = engine.run("pg_restore", arguments, folder=content, stdout=subprocess.PIPE)
    else:
        arguments = ["--file=-", "--format=c"]
        process = engine.run("pg_restore", arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        feeder = _Feeder(content, process)
    script = _Script(process, feeder)
    with process:
        try:
            yield script
        finally:
            # Where the reader gave up. The feeder then meets a closed pipe, or goes with us if its source is stuck.
            process.kill()


class _Feeder(threading.Thread):
    """Copies a stream into a program, as it can take no more than a pipe's worth at a time."""

    def __init__(self, content: Readable, process: subprocess.Popen[bytes]) -> None:
        super().__init__(daemon=True)
        self.error: Exception | None = None
        self._content = content
        self._stdin = process.stdin
        self.start()

    def run(self) -> None:
        """Copy to the end, or until the program wants no more."""
        assert self._stdin
        try:
            with suppress(BrokenPipeError), self._stdin:
                while block := self._content.read(CHUNK):
                    self._stdin.write(block)
        except Exception as error:  # noqa: BLE001 - raised again by the thread that reads
            self.error = error


class _Script:
    """The program's output; its end is only reached where the program and the feeder ended well."""

    def __init__(self, process: subprocess.Popen[bytes], feeder: _Feeder | None) -> None:
        self._process = process
        self._feeder = feeder
        self._complaints: list[bytes] = []
        self._listener = threading.Thread(target=self._listen, args=(process.stderr,), daemon=True)
        self._listener.start()

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes of the script; none at the end."""
        assert self._process.stdout
        data = self._process.stdout.read(size)
        if not data:
            self._ended()
        return data

    def _listen(self, stderr: IO[bytes]) -> None:
        # The first and the last are what tells; a damaged archive can make it say very much.
        for line in stderr:
            self._complaints[20:] = [line]

    def _ended(self) -> None:
        code = self._process.wait()
        self._listener.join()
        if self._feeder:
            self._feeder.join()
            if self._feeder.error:
                raise self._feeder.error
        if code:
            raise _failure([line.decode(errors="replace").strip() for line in self._complaints], code)


def _failure(complaints: list[str], code: int) -> DrydockError:
    if any(CANNOT_UNPACK in line for line in complaints):
        return DrydockError(
            "The dump's data is compressed in a way that this pg_restore cannot unpack.",
            hint="Make it again with pg_dump --compress=gzip, or use ENGINE=docker with a pulled image.",
        )
    errors = [line.split("error: ", 1)[1] for line in complaints if "error: " in line]
    reason = errors[-1] if errors else (complaints or [f"exit code {code}"])[-1]
    return damaged(f"pg_restore says {reason.rstrip('.')}")
