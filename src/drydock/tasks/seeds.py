"""seed, reset, reset.undo."""

from __future__ import annotations

from typing import TYPE_CHECKING

from invoke.collection import Collection

from drydock.console import seconds
from drydock.errors import SettingsError
from drydock.tasks.common import changing, command

if TYPE_CHECKING:
    from drydock.console import Console

SIZES = ("small", "medium", "large")
SIZE_HELP = f"{', '.join(SIZES)}; SEED_SIZE by default."


@command(help={"size": SIZE_HELP})
def seed(console: Console, size: str = "", json: bool = False) -> None:
    """Load the seeds; what is already there is left alone, and a second run writes nothing."""
    from drydock import seed as work
    from drydock.environment import refuse_in_production
    from drydock.recovery.way_back.changes import recorded
    from drydock.recovery.way_back.journal import Kind

    _check(size)
    with changing(console, "seed") as environment:
        refuse_in_production(environment.settings, "seed")
        with recorded(environment, "seed", Kind.IN_PLACE, report=console.step) as change:
            with console.phase("seed"), console.progress("seeding") as progress:
                result = work.run(environment, size=size or environment.settings.seed_size, progress=progress)
            total = sum(result.written.values())
            if not total:
                change.nothing()
    lines = [f"{rows:>10,}  {name}" for name, rows in result.written.items() if rows]
    rate = f", {total / result.seconds:,.0f} rows/s" if total else ""
    console.result(
        {"size": result.size, "written": result.written, "seconds": result.seconds, "undo": change.undo},
        [*lines, f"{total:,} rows written{rate}.", *change.lines],
    )


@command(help={"size": SIZE_HELP, "rebuild": "Build the template anew even where one fits."})
def reset(console: Console, size: str = "", rebuild: bool = False, json: bool = False) -> None:
    """Go back to the migrated and seeded state; Redis is flushed. `invoke undo` takes it back."""
    from drydock import template as work
    from drydock.environment import refuse_in_production
    from drydock.recovery.way_back.changes import recorded
    from drydock.recovery.way_back.journal import Kind

    _check(size)
    with changing(console, "reset") as environment:
        refuse_in_production(environment.settings, "reset")
        with (
            recorded(environment, "reset", Kind.DATABASES, report=console.step) as change,
            console.progress("seeding the template") as progress,
        ):
            result = work.reset(
                environment,
                size or environment.settings.seed_size,
                rebuild=rebuild,
                report=console.step,
                progress=progress,
            )
    phases = ", ".join(f"{name} {seconds(value)}" for name, value in result.seconds.items())
    console.result(
        {**result.__dict__, "redis": "flushed", "undo": change.undo},
        [
            f"Reset: {phases}. Redis is flushed. The data from before is kept as {result.previous}.",
            *change.lines,
        ],
    )


@command()
def undo(console: Console, json: bool = False) -> None:
    """Bring back the database that the last reset or restore replaced; again, to go forth. Redis is flushed."""
    from drydock.environment import refuse_in_production
    from drydock.recovery.way_back.undo import exchange

    with changing(console, "reset.undo") as environment:
        refuse_in_production(environment.settings, "reset.undo")
        previous = exchange(environment, console.step)
    console.result(
        {"swapped_with": previous}, [f"Swapped with {previous}. Redis is flushed. The same command goes back again."]
    )


def group() -> Collection:
    """`seed`."""
    collection = Collection("seed")
    collection.add_task(seed, name="load", default=True)
    return collection


def reset_group() -> Collection:
    """`reset` and `reset.undo`."""
    collection = Collection("reset")
    collection.add_task(reset, name="clone", default=True)
    collection.add_task(undo)
    return collection


def _check(size: str) -> None:
    if size and size not in SIZES:
        raise SettingsError(f"There is no seed size {size!r}; there are {', '.join(SIZES)}.")
