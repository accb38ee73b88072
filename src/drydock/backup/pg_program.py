"""The server's own client programs, run to their end: pg_dump, pg_dumpall, pg_restore."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

from drydock.errors import DrydockError

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator


@contextmanager
def ending(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """Leave no program behind where the body fails: it is asked to end, and waited for."""
    try:
        yield process
    except BaseException:
        process.terminate()
        # Before we wait: `docker run` ends only once it has got rid of what its container wrote.
        for stream in (process.stdout, process.stderr):
            if stream:
                stream.close()
        process.wait()
        raise
    finally:
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream:
                stream.close()


def follow(process: subprocess.Popen[bytes], name: str, each: Callable[[str], None]) -> None:
    """Give each line of a program's stderr to `each` as it comes, until the program ends.

    Raises:
        DrydockError: with what the program said, where it ends with another code than 0.
    """
    said = []
    assert process.stderr is not None
    for raw in process.stderr:
        line = raw.decode(errors="replace").rstrip("\n")
        said.append(line)
        each(line)
    if process.wait():
        raise failed(name, said)


def failed(name: str, said: list[str]) -> DrydockError:
    """The error of a program that failed: its first error line, which the others mostly follow from."""
    errors = [re.sub(r"^\w+: (error: )?", "", line) for line in said if ": error: " in line or "FATAL" in line]
    reason = (errors or [line for line in said if line.strip()] or ["it said nothing"])[0]
    return DrydockError(f"{name} failed: {reason.rstrip('.')}.", hint="invoke doctor; invoke logs")
