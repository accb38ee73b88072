"""history."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from drydock.console import size, table
from drydock.errors import SettingsError, word
from drydock.tasks.common import MANY_LINES, command, whole_number

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drydock.console import Console
    from drydock.recovery.archive.folders import Archive
    from drydock.recovery.history.listing import Line, Told
    from drydock.recovery.history.naming import Counts

SHOWN = 20
TABLES = 4  # of a transaction, in a line
OF_A_RESTORE = {"task": "invoke restore"}
COLUMNS = ("inserted", "updated", "deleted")


@command(
    help={
        "since": 'Only from then on: "1 hour ago", "14:05", "yesterday 18:00", or an ISO 8601 time.',
        "table": "Only those that changed this table.",
        "limit": "How many.",
        "aborted": "Also those that were rolled back, or are prepared and wait.",
        "all_": "Also what drydock itself did in databases that it makes to prove or load something.",
    }
)
def history(  # noqa: PLR0913, PLR0917 - each is a flag
    console: Console,
    since: str = "",
    table: str = "",
    limit: str = str(SHOWN),
    aborted: bool = False,
    all_: bool = False,
    json: bool = False,
) -> None:
    """What was changed in the data, newest first: a line for each transaction, with the rows of each table."""
    from drydock.environment import open_existing
    from drydock.recovery.history import listing
    from drydock.recovery.plans.moments import Clock, parse

    count = whole_number("--limit", limit, most=MANY_LINES)
    if count < 1:
        raise SettingsError(f"--limit {limit} shows nothing.", hint=f"invoke history --limit {SHOWN}")
    begin = parse(since, Clock(datetime.now(UTC)), "--since") if since else None
    wanted = listing.Wanted(count, begin, table, aborted, all_)
    environment = open_existing()
    archive, missing = listing.bring_up(environment)
    for problem in missing:
        console.note(problem)
    found = listing.told(archive, environment.settings.database, wanted)
    lines = _lines(archive, found) if found.lines else _nothing(archive, found, narrowed=bool(since or table))
    console.result({"transactions": [_data(line) for line in found.lines], "missing": missing}, lines)


def _data(line: Line) -> dict[str, object]:
    one = line.transaction
    return {
        "time": one.moment.isoformat(),
        "xid": one.xid,
        "full_xid": one.full,
        "timeline": one.timeline,
        "lsn": _lsn(one.lsn),
        "state": one.state,
        "tables": {
            name: dict(zip(("inserted", "updated", "deleted"), counts, strict=True))
            for name, counts in line.tables.items()
        },
        "schema_changed": one.ddl,
        "wal_bytes": one.size,
        "complete": one.whole,
        "undone": line.undone,
        "aside": one.aside,
        "who": line.who,
    }


def _lsn(lsn: int) -> str:
    from drydock.recovery.wal.positions import format_lsn

    return format_lsn(lsn)


def _nothing(archive: Archive, found: Told, *, narrowed: bool) -> Iterator[str]:
    """What there is to say of an empty history: how far back it goes, be it that everything was made before.

    A table that took another database's place, as reset and restore have it, has the earlier changes under its name.
    """
    from drydock.recovery.bases.base import bases

    # WAL from before the oldest base backup goes when nothing needs it any more: that it is told is no promise.
    begun = [base.started for base in bases(archive)] or [datetime.fromisoformat(p.begun) for p in archive.parts()]
    moment = f"{min(begun, default=datetime.now(UTC)).astimezone():%Y-%m-%d %H:%M:%S}"
    told = f"No transaction fits. The archive goes back to {moment}"
    told = told if narrowed else f"Nothing was changed since {moment}, from when on everything is archived"
    yield f"{told}. --aborted shows transactions that were rolled back as well."
    if found.elsewhere:
        named = ", ".join(f"--table {word(one)}" for one in found.elsewhere)
        yield f"Other databases have tables of that name: {named}"


def _lines(archive: Archive, found: Told) -> Iterator[str]:
    from drydock.recovery.bases.base import bases

    heading = ("time", "xid", *(["timeline"] if found.several else []), "WAL", "who", "changes")
    yield from table([heading, *(_row(line, several=found.several) for line in found.lines)])
    offered = (
        line for line in found.lines if line.transaction.committed and not (line.undone or line.transaction.aside)
    )
    # A restore of the cluster begins a timeline, and is taken back with it; one of tables is among other transactions.
    line = next((line for line in offered if not (line.begins and line.who == OF_A_RESTORE)), None)
    newest = line.transaction if line else None
    if line and line.who == OF_A_RESTORE:
        yield "to take the restore back: invoke undo"
    elif newest and any(base.stop <= newest.lsn for base in bases(archive)):
        xid = f"{newest.timeline}:{newest.xid}" if found.several else newest.xid
        yield f"to take one back with all that came after it: invoke restore --before-xid {xid}"
    elif newest:
        yield "none can be taken back: they are older than the first base backup, which invoke status tells of"


def _row(line: Line, *, several: bool) -> tuple[str, ...]:
    one = line.transaction
    timeline = [str(one.timeline)] if several else []
    when = f"{one.moment.astimezone():%Y-%m-%d %H:%M:%S.%f}"[:-3]
    return (when, str(one.xid), *timeline, size(one.size), _who(line.who), _changes(line))


def _changes(line: Line) -> str:
    one = line.transaction
    ordered = sorted(line.tables.items(), key=lambda table: -sum(table[1]))
    parts = ["schema"] if one.ddl else []
    parts += [f"{name} {_counts(counts)}" for name, counts in ordered[:TABLES]]
    parts += [f"{len(ordered) - TABLES} more tables"] if len(ordered) > TABLES else []
    notes = [one.state] if not one.committed else []
    notes += ["aside"] if one.aside else []
    notes += ["undone"] if line.undone else []
    notes += ["at least"] if not one.whole else []
    return (f"[{', '.join(notes)}] " if notes else "") + (", ".join(parts) or "-")


def _counts(counts: Counts) -> str:
    return " ".join(f"{sign}{number}" for sign, number in zip("+~-", counts, strict=True) if number) or "0"


def _who(who: dict[str, object]) -> str:
    words = " ".join(str(value) for value in who.values())
    return "".join(letter if letter.isprintable() else " " for letter in words)


TASKS = (history,)
