"""backup and its subtasks."""

from __future__ import annotations

from invoke.collection import Collection

from drydock.tasks import backup_keeping, backup_offsite


def group() -> Collection:
    """`backup`."""
    collection = Collection("backup")
    for task in (*backup_keeping.TASKS, *backup_offsite.TASKS):
        collection.add_task(task)
    return collection
