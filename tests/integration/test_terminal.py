"""What a person at a terminal sees: the typed confirmation, colours, and a prompt that is not asked elsewhere."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.checkout import Checkout


def typed(checkout: Checkout, words: list[str], answer: str, **variables: str) -> tuple[int, str]:
    """Run `invoke` on a pseudo-terminal, answer its first question, and return exit code and screen."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "invoke", *words]
    environ = {**checkout.environ, **variables}
    process = subprocess.Popen(command, cwd=checkout.root, env=environ, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    screen, answered = "", False
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:  # Linux ends a pseudo-terminal whose other side is closed with EIO
            break
        if not part:
            break
        screen += part.decode(errors="replace")
        if "to go on:" in screen and not answered:
            os.write(ours, answer.encode() + b"\n")
            answered = True
    os.close(ours)
    return process.wait(timeout=60), screen


def test_destroy_asks_for_the_name(make_checkout: Callable[..., Checkout], embedded_engine: str) -> None:
    """A wrong answer does nothing; the environment's name removes it."""
    checkout = make_checkout(ENGINE=embedded_engine)
    checkout.run("up")
    name = checkout.environment.state.name
    code, screen = typed(checkout, ["destroy"], "yes")
    assert (code, "Nothing was done" in screen) == (3, True)
    assert checkout.json("status")["status"] == "pass"
    code, screen = typed(checkout, ["destroy"], name)
    assert (code, "Removed" in screen) == (0, True)


def test_a_terminal_gets_colours_and_a_pipe_does_not(scratch: Checkout) -> None:
    """The same status, with and without escape sequences; NO_COLOR takes the colours away unless it is empty."""
    assert "\x1b[32m" in typed(scratch, ["status"], "", NO_COLOR="")[1]
    assert "\x1b[32m" not in typed(scratch, ["status"], "", NO_COLOR="1")[1]
    assert "\x1b" not in scratch.run("status").stdout


def test_a_reader_that_has_seen_enough_is_no_failure(scratch: Checkout) -> None:
    """As in `invoke status | head -1`: no complaint, and the exit code is the task's own."""
    process = scratch.start("status")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    said = process.stderr.read()
    process.stderr.close()
    assert (process.wait(60), said) == (0, "")
