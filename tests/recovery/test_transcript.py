"""The README's "I just deleted the wrong rows", replayed."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tests import timeline
from tests.checkout import ROOT, Checkout

if TYPE_CHECKING:
    from collections.abc import Callable

TITLE = "## I just deleted the wrong rows"
QUESTION = re.compile(r"^Put it in place.*\n", re.MULTILINE)
# What is another every time: positions, times, durations, names of volumes and backups.
VARYING = re.compile(r"\d[\d:.,/A-FTZ+ -]*(?:ms|s\b)?|postgres-16-\d+|drydock-\S+")
# The base backup may not be proven yet.
UNPROVEN = re.compile(r", not verified yet(\))")


def shape(text: str) -> list[str]:
    """The lines of a transcript without what varies, and without the spaces that align it."""
    lines = [UNPROVEN.sub(r"\1", line) for line in text.splitlines()]
    return [" ".join(VARYING.sub("#", line).split()) for line in lines]


def documented() -> tuple[str, str]:
    """The command, and what the README says that it prints."""
    section = (ROOT / "README.md").read_text(encoding="utf-8").split(TITLE)[1]
    command, _, printed = section.split("```text\n$ ")[1].split("```")[0].partition("\n")
    return command, QUESTION.sub("", printed)


def test_the_readme_says_what_happens(any_engine: str, make_checkout: Callable[..., Checkout]) -> None:
    """The same command, with the moment before the mistake, prints the same lines."""
    checkout = make_checkout(ENGINE=any_engine, WAL_ARCHIVE="on")
    numbers = timeline.archived(checkout)
    before = datetime.now(UTC)
    checkout.query("DELETE FROM messages")
    numbers.archived()
    command, printed = documented()
    words = [word.strip('"') for word in re.findall(r'"[^"]+"|\S+', command)]
    assert words[:3] == ["invoke", "restore", "--at"]
    done = checkout.run("restore", "--at", before.isoformat(), "--yes", TZ="UTC")
    assert sorted(set(shape(printed)) ^ set(shape(done.stderr + done.stdout))) == []
    assert checkout.query("SELECT count(*) FROM messages") == [(1194,)]
