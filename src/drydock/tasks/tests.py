"""test.down."""

from __future__ import annotations

from typing import TYPE_CHECKING

from invoke.collection import Collection

from drydock.tasks.common import command, settings

if TYPE_CHECKING:
    from drydock.console import Console


@command()
def down(console: Console, json: bool = False) -> None:
    """Stop the servers that tests share (drydock.testing), with every database that failed tests have kept."""
    from drydock.throwaway.server import stop_all

    with console.phase("stop"):
        stopped = stop_all(settings().root)
    console.result(
        {"stopped": stopped}, [f"Stopped: {', '.join(stopped)}." if stopped else "No server for tests was running."]
    )


def group() -> Collection:
    """`test.down`."""
    collection = Collection("test")
    collection.add_task(down)
    return collection
