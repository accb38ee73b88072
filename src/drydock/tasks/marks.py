"""mark and mark.list."""

from __future__ import annotations

from typing import TYPE_CHECKING

from invoke.collection import Collection

from drydock.console import local, table
from drydock.tasks.common import changing, command
from drydock.tasks.words import WordTask

if TYPE_CHECKING:
    from drydock.console import Console
    from drydock.recovery.archive.marks import Mark

EXPIRED = "cannot be reached any more: the WAL before it has expired"


@command(
    help={"name": "Letters, digits, dots, - and _; the time by default.", "replace": "Move a mark of that name here."},
    klass=WordTask,
    positional=["name"],
)
def mark(console: Console, name: str = "now", replace: bool = False, json: bool = False) -> None:
    """Give this moment a name to come back to: `invoke restore --mark NAME`. It ends once that is proven."""
    from drydock.console import confirm
    from drydock.recovery.archive import marks
    from drydock.recovery.upkeep import attendant
    from drydock.recovery.way_back import marking

    wanted = marks.named(name)
    with changing(console, "mark") as environment:
        taken = not replace and marks.taken(marking.archive_of(environment), wanted)
        agreed = replace or bool(
            taken and confirm(f"There is a mark {taken} already. Type yes to move it here:", "yes")
        )
        with console.phase("mark"):
            made = marking.make(environment, wanted, replace=agreed)
        attendant.spawn(environment)
    console.result(
        made.__dict__, [f"Marked {made.name} at {made.lsn}. To come back to it: invoke restore --mark {made.name}"]
    )


@command()
def list_(console: Console, json: bool = False) -> None:
    """The marks, newest first: those with a name, and those that tasks left before they changed anything."""
    from drydock.environment import open_existing
    from drydock.recovery.archive import marks
    from drydock.recovery.way_back import marking, reach

    archive = marking.archive_of(open_existing())
    found, expired = list(reversed(marks.every(archive))), reach.expired(archive)
    rows = [(*_row(m), *([EXPIRED if m.name in expired else ""] if expired else [])) for m in found]
    data = [{**m.__dict__, "expired": m.name in expired} for m in found]
    console.result({"marks": data}, table(rows) if rows else ["There is no mark yet: invoke mark NAME"])


def _row(mark: Mark) -> tuple[str, ...]:
    return mark.name, local(mark.made), str(mark.kind), mark.lsn


def group() -> Collection:
    """`mark` and `mark.list`."""
    collection = Collection("mark")
    collection.add_task(mark, name="make", default=True)
    collection.add_task(list_, name="list")
    return collection
