"""undo, undo.list, redo, prune."""

from __future__ import annotations

from typing import TYPE_CHECKING

from invoke.collection import Collection

from drydock.console import seconds, size, table
from drydock.tasks.common import changing, command

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drydock.console import Console
    from drydock.recovery.way_back.journal import Entry, Move
    from drydock.recovery.way_back.undo import Moved
    from drydock.recovery.way_back.volumes import Verdict

EXPIRED = "cannot be reached any more: the WAL before its mark has expired"
PLAN_HELP = "Only say what would be done, and how."


@command(help={"plan": PLAN_HELP})
def undo(console: Console, plan: bool = False, json: bool = False) -> None:
    """Take back the newest change that a task made to the data; again, the one before. `invoke redo` goes forth."""
    from drydock.recovery.way_back.journal import Move

    _move(console, Move.UNDO, plan=plan)


@command(help={"plan": PLAN_HELP})
def redo(console: Console, plan: bool = False, json: bool = False) -> None:
    """Do again what the last undo took back, until the next change."""
    from drydock.recovery.way_back.journal import Move

    _move(console, Move.REDO, plan=plan)


@command()
def list_(console: Console, json: bool = False) -> None:
    """What undo and redo would do, step by step, newest first."""
    from drydock.recovery.way_back import changes
    from drydock.recovery.way_back import undo as work

    with changing(console, "undo.list") as environment:
        journal = changes.load(environment)
        lost = work.lost(environment, (*journal.redo, *journal.undo))
    sides = {"redo": journal.redo, "undo": tuple(reversed(journal.undo))}
    rows = [(side, e.title, EXPIRED if e.id in lost else _by(e)) for side, entries in sides.items() for e in entries]
    data = {side: [{**_entry_data(e), "expired": e.id in lost} for e in entries] for side, entries in sides.items()}
    console.result(data, table(rows) if rows else ["There is nothing to undo and nothing to redo."])


@command(help={"dry-run": "Only say what would go."})
def prune(console: Console, dry_run: bool = False, json: bool = False) -> None:
    """Remove the volumes of earlier incarnations that undo does not need, or RECOVERY_DISK has no room for."""
    from drydock.environment import refuse_in_production
    from drydock.recovery.way_back import volumes as work

    with changing(console, "prune") as environment:
        if not dry_run:
            refuse_in_production(environment.settings, "prune")
        verdicts = work.plan(environment) if dry_run else work.prune(environment)
    data = [{**v.volume.__dict__, "stays": v.stays, "reason": v.reason} for v in verdicts]
    console.result({"dry_run": dry_run, "volumes": data}, _prune_lines(verdicts, dry_run=dry_run))


def group() -> Collection:
    """`undo` and `undo.list`."""
    collection = Collection("undo")
    collection.add_task(undo, name="last", default=True)
    collection.add_task(list_, name="list")
    return collection


def _move(console: Console, move: Move, *, plan: bool) -> None:
    from drydock.environment import refuse_in_production
    from drydock.recovery.way_back import undo as work

    with changing(console, str(move)) as environment:
        if plan:
            entry, way = work.plan(environment, move)
            console.result(
                {"plan": _entry_data(entry), "way": way.name.lower()}, [f"{move} {entry.title}, by {way.value}."]
            )
            return
        refuse_in_production(environment.settings, str(move))
        with console.phase(str(move)):
            result = work.go(environment, move, console.step)
    console.result(_data(result, move), _lines(result, move))


def _data(result: Moved, move: Move) -> dict[str, object]:
    return {
        str(move): _entry_data(result.entry),
        "way": result.way.name.lower(),
        "redis": "flushed",
        "seconds": round(result.seconds, 3),
        "levels": {"undo": result.undo, "redo": result.redo},
    }


def _lines(result: Moved, move: Move) -> Iterator[str]:
    undone = move == "undo"
    done = "Taken back" if undone else "Done again"
    yield f"{done}: {result.entry.title}, by {result.way.value} ({seconds(result.seconds)}). Redis is flushed."
    left = f"; {result.undo} more to undo" if undone and result.undo else ""
    yield f"{'redo: invoke redo' if undone else 'undo: invoke undo'}{left}"


def _entry_data(entry: Entry) -> dict[str, object]:
    return {"task": entry.task, "when": entry.when, "mark": entry.mark, "incarnation": entry.incarnation}


def _by(entry: Entry) -> str:
    """Whether a mark leads to the other side, or why there is none."""
    return f"mark {entry.mark}" if entry.mark else f"no mark: {entry.unmarked}"


def _prune_lines(verdicts: list[Verdict], *, dry_run: bool) -> Iterator[str]:
    going = "would go" if dry_run else "gone"
    yield from table([("stays" if v.stays else going, v.volume.name, size(v.volume.size), v.reason) for v in verdicts])
    freed = sum(v.volume.size for v in verdicts if not v.stays)
    yield f"{'Would free' if dry_run else 'Freed'} {size(freed)}." if freed else "Nothing to remove."


TASKS = (redo, prune)
