"""cron: a marked block in the user's crontab; every other line stays as it is, byte for byte."""

from __future__ import annotations

import fcntl
import os
import re
import shlex
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from drydock.backup.scheduling.schedulers import refuse_unprintable
from drydock.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drydock.backup.scheduling.schedulers import Job

DAEMONS = {"cron", "crond"}
# What `crontab -l` says where there is none: Vixie's and its heirs, busybox's.
NONE_YET = (b"no crontab", b"No such file")


class Cron:
    """The user's crontab, through crontab(1)."""

    name = "cron"

    def problem(self) -> str:
        """Why it cannot be used here."""
        return "" if shutil.which("crontab") else "There is no crontab command."

    def caution(self) -> tuple[str, str] | None:
        """A crontab is also taken where no daemon reads it."""
        import psutil

        # A daemon that ends while it is looked at is none that runs.
        names = {process.info["name"] for process in psutil.process_iter(["name"])}
        if names & DAEMONS:
            return None
        return "no cron daemon is running, and nothing is started until one does", "sudo service cron start"

    def install(self, job: Job) -> None:
        """Put the block in, in place of the one there was."""
        refuse_unprintable(job)
        with _only_ours():
            rest, _ = without(_read(), job.checkout)
            new = rest + block(job)
            _write(new)
            if _read() != new:
                raise EngineError("crontab did not keep the new entry.", hint="crontab -l")

    def remove(self, checkout: str) -> bool:
        """Take the block away."""
        with _only_ours():
            rest, had = without(_read(), checkout)
            if had:
                _write(rest)
        return had

    def has(self, checkout: str) -> bool:
        """True where the block is there."""
        return without(_read(), checkout)[1]


def block(job: Job) -> bytes:
    """The job's lines. Nothing is started once its script is gone, whatever shell the crontab names."""
    script = shlex.quote(str(job.script))
    # crontab(5): an unescaped % ends the command.
    command = f"test -f {script} && /bin/sh {script}".replace("%", r"\%")
    begin, end = _marks(job.checkout)
    return os.fsencode(
        f"{begin} backups of {job.root}; there `invoke backup.schedule off` takes these lines away\n"
        f"{job.minute} * * * * {command}\n"
        f"@reboot {command}\n"
        f"{end}\n"
    )


def without(crontab: bytes, checkout: str) -> tuple[bytes, bool]:
    """The crontab with the checkout's block taken out, and whether there was one; it ends with a line's end.

    Raises:
        EngineError: where somebody took away one of the block's two marks.
    """
    begin, end = (mark.encode() for mark in _marks(checkout))
    rest, found = re.subn(rb"(?ms)^%s [^\n]*\n.*?^%s\n" % (re.escape(begin), re.escape(end)), b"", crontab)
    if re.search(rb"(?m)^(%s |%s$)" % (re.escape(begin), re.escape(end)), rest):
        raise EngineError(
            f"drydock's lines in the crontab have lost one of their marks ({begin.decode()} … {end.decode()}).",
            hint="Take these lines out: crontab -e",
        )
    return (rest if rest.endswith(b"\n") or not rest else rest + b"\n"), bool(found)


def _marks(checkout: str) -> tuple[str, str]:
    return f"# drydock {checkout}:", f"# drydock {checkout} ends"


@contextmanager
def _only_ours() -> Iterator[None]:
    """One checkout at a time changes the crontab, which has no lock of its own; the home folder serves as one."""
    handle = os.open(Path.home(), os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _read() -> bytes:
    done = subprocess.run(["crontab", "-l"], capture_output=True, check=False)
    if done.returncode and not any(words in done.stderr for words in NONE_YET):
        raise _failed("read", done.stderr)
    return done.stdout


def _write(crontab: bytes) -> None:
    done = subprocess.run(["crontab", "-" if crontab else "-r"], input=crontab, capture_output=True, check=False)
    if done.returncode:
        raise _failed("change", done.stderr)


def _failed(what: str, stderr: bytes) -> EngineError:
    said = (stderr.decode(errors="replace").strip().splitlines() or ["it said nothing"])[-1].rstrip(".")
    return EngineError(f"Cannot {what} your crontab: {said}.", hint="crontab -l")
