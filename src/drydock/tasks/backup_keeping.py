"""backup.prune, backup.pin, backup.unpin."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from drydock.console import size, table
from drydock.errors import SettingsError, word
from drydock.tasks.common import command, settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drydock.backup.catalogue import Catalogue
    from drydock.backup.pruning import Pruning
    from drydock.backup.retention import Policy
    from drydock.console import Console
    from drydock.settings import Settings

RULES = ("last", "daily", "weekly", "monthly")


@command(
    help={
        "keep-last": "How many of the newest stay; BACKUP_KEEP_LAST by default.",
        "daily": "Days that keep one; BACKUP_KEEP_DAILY by default.",
        "weekly": "Weeks that keep one; BACKUP_KEEP_WEEKLY by default.",
        "monthly": "Months that keep one; BACKUP_KEEP_MONTHLY by default.",
        "dry-run": "Only say what would go.",
    }
)
def prune(  # noqa: PLR0913, PLR0917 - each is a flag
    console: Console,
    keep_last: str = "",
    daily: str = "",
    weekly: str = "",
    monthly: str = "",
    dry_run: bool = False,
    json: bool = False,
) -> None:
    """Remove backups that no rule keeps. The last good one and pinned ones always stay."""
    from drydock.backup import pruning
    from drydock.environment import refuse_in_production

    current = settings()
    policy = _policy(current, keep_last, daily, weekly, monthly)
    if dry_run:
        result = pruning.plan(catalogue_of(current).entries(), policy)
    else:
        refuse_in_production(current, "backup.prune")
        with holding(console, current, "backup.prune"):
            result = pruning.prune(catalogue_of(current), policy)
    console.result(_data(result, dry_run=dry_run), _lines(result, dry_run=dry_run))


@command(help={"name": "Its name, a beginning of it, its label, or latest.", "reason": "Why, for those who ask later."})
def pin(console: Console, name: str, reason: str = "", json: bool = False) -> None:
    """Keep a backup for good: nothing prunes it."""
    from drydock.backup import catalogue

    current = settings()
    with holding(console, current, "backup.pin"):
        entry = catalogue_of(current).find(name)
        catalogue.pin(entry, reason)
    console.result(
        {"name": entry.name, "pinned": reason}, [f"{entry.name} stays until: invoke backup.unpin {entry.name}"]
    )


@command(help={"name": "Its name, a beginning of it, its label, or latest."})
def unpin(console: Console, name: str, json: bool = False) -> None:
    """Let a pinned backup be pruned again."""
    from drydock.backup import catalogue

    current = settings()
    with holding(console, current, "backup.unpin"):
        entry = catalogue_of(current).find(name)
        was = catalogue.unpin(entry)
    console.result(
        {"name": entry.name, "was_pinned": was},
        [f"{entry.name} is no longer pinned." if was else f"{entry.name} was not pinned."],
    )


def _policy(current: Settings, *texts: str) -> Policy:
    """The policy of the settings, with what was given on the command line instead."""
    from dataclasses import replace

    from drydock import rules
    from drydock.backup import pruning

    allowed, parse = rules.COUNT
    given, problems = {}, []
    for rule, text in zip(RULES, texts, strict=True):
        try:
            given.update({rule: parse(text)} if text else {})
        except ValueError:
            problems.append(f"--{'keep-last' if rule == 'last' else rule}: {text!r} is not {allowed}")
    if problems:
        raise SettingsError("; ".join(problems) + ".", hint="invoke --help backup.prune")
    return replace(pruning.policy(current), **given)


def catalogue_of(current: Settings) -> Catalogue:
    """The checkout's backups, whether or not it has an environment."""
    from drydock.backup.catalogue import Catalogue

    return Catalogue(current.backups / "dumps")


@contextmanager
def holding(console: Console, current: Settings, task: str) -> Iterator[None]:
    """The checkout's lock; backups outlive the servers, so that there need not be an environment."""
    from drydock.lock import locked
    from drydock.state import StateFile

    StateFile(current.folder).prepare()
    with locked(current.folder, task, timeout=current.lock_timeout, report=console.step):
        yield


def _data(result: Pruning, *, dry_run: bool) -> dict[str, object]:
    return {
        "dry_run": dry_run,
        "kept": {entry.name: reasons for entry, reasons in result.kept},
        "removed": [entry.name for entry in result.removed],
        "freed_bytes": result.freed,
        "broken": {entry.name: problem for entry, problem in result.broken},
    }


def _lines(result: Pruning, *, dry_run: bool) -> Iterator[str]:
    yield from table([("stays", entry.name, "; ".join(reasons)) for entry, reasons in result.kept])
    going = "would go" if dry_run else "gone"
    yield from table(
        [(going, entry.name, size(entry.manifest.size if entry.manifest else 0)) for entry in result.removed]
    )
    for entry in (*(entry for entry, _ in result.kept), *result.removed):
        yield from (
            f"{entry.name} counts as {_counts_as(name)}: its {name} cannot be read" for name in entry.unreadable
        )
    for entry, problem in result.broken:
        yield f"unusable  {entry.name}: {problem}"
        yield f"    → left alone; once you are sure: rm -r {word(entry.path)}"
    count = len(result.removed)
    freed = f"{'would free' if dry_run else 'freed'} {size(result.freed)}"
    yield (
        f"{len(result.kept)} kept, {count} {'to go' if dry_run else 'removed'}: {freed}."
        if count
        else (f"{len(result.kept)} kept; nothing to remove.")
    )


def _counts_as(unreadable: str) -> str:
    from drydock.backup.catalogue import PROOF

    return "unproven" if unreadable == PROOF else "pinned"


TASKS = (prune, pin, unpin)
