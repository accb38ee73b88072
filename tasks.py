"""The command surface: `invoke --list` shows it."""

from drydock.tasks import namespace as drydock_tasks

namespace = drydock_tasks()
