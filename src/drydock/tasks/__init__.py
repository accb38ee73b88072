"""The command surface: one module per noun. Tasks parse, call and print; the work is done elsewhere."""

from __future__ import annotations

import sys

from invoke.collection import Collection

__all__ = ["namespace"]


def namespace() -> Collection:
    """Every drydock task, for a project's own tasks.py: `namespace = drydock.tasks.namespace()`."""
    # Invoke keeps no bytecode unless told to (its --write-pyc), for the sake of tasks.py. An editable installation
    # would so compile all modules of drydock anew for each command: a fifth of `invoke --list`.
    sys.dont_write_bytecode = bool(sys.flags.dont_write_bytecode)
    from drydock.tasks import (
        application,
        archives,
        backups,
        branches,
        environment,
        history,
        images,
        inspection,
        marks,
        migrations,
        restores,
        seeds,
        servers,
        tests,
        undoing,
    )

    top = Collection()
    for task in (
        *environment.TASKS,
        *inspection.TASKS,
        *application.TASKS,
        *servers.TASKS,
        *undoing.TASKS,
        *history.TASKS,
    ):
        top.add_task(task)
    for name, group in (("migrate", migrations.group()), ("seed", seeds.group()), ("reset", seeds.reset_group())):
        top.add_collection(group, name=name)
    top.add_collection(backups.group(), name="backup")
    top.add_collection(archives.group(), name="archive")
    top.add_collection(branches.group(), name="branch")
    top.add_collection(restores.group(), name="restore")
    top.add_collection(undoing.group(), name="undo")
    top.add_collection(marks.group(), name="mark")
    top.add_collection(images.group(), name="images")
    top.add_collection(tests.group(), name="test")
    return top
