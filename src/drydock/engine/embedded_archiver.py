"""The embedded engine's archiver: pg_receivewal as a process of this machine, at work in the part's folder."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from drydock.checkout import HOST
from drydock.engine import ARCHIVER, ServiceState, configuration, wheels
from drydock.engine.process_table import command_line
from drydock.engine.processes import Server
from drydock.recovery.archive.folders import part_folder, slot_name

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from drydock.checkout import Checkout

PROGRAM = "pg_receivewal"
# As compose.yaml has it, which says why.
HOW = ("--synchronous", "--status-interval=1", "--no-password")


class Archiver:
    """Launched like a server and found again like one, by the folder that it works in.

    Where somebody removed that folder or moved it away, it goes on all the same, and is known by its command line.
    """

    def __init__(self, checkout: Checkout) -> None:
        self.checkout = checkout
        # It keeps no pid file.
        self.process = Server(ARCHIVER, checkout.settings.folder, "", self._is_ours)

    @property
    def folder(self) -> Path:
        """Where it writes."""
        return part_folder(self.checkout)

    def start(self, report: Callable[[str], None]) -> None:
        """Launch it, unless it runs as declared."""
        state, launch, declared = self.state(), self.process.launched(), self._declared()
        if state.running and launch and launch.started_with == declared:
            return
        if state.status in {"running", "paused"}:
            report("the archiver runs otherwise than declared: starting it again")
        self.stop()
        passwords = self.checkout.settings.folder / "secrets" / "pgpass_archiver"
        self.process.launch(
            self._command(), self.folder, started_with=declared, variables={"PGPASSFILE": str(passwords)}
        )

    def stop(self) -> bool:
        """End it as its manual says, with SIGINT; what it has received stays. False where none ran."""
        # Without a part its folder is one that other clusters' archivers work below.
        return bool(self.checkout.state.part) and self.process.stop(self.folder, signal.SIGINT)

    def resume(self) -> None:
        """Let it go on where somebody paused it: Postgres does not end before the archiver has all WAL."""
        if self.checkout.state.part:
            self.process.resume(self.folder)

    def state(self) -> ServiceState:
        """From its note and the kernel."""
        if not self.checkout.state.part:
            return ServiceState(status="absent")
        status, pid, code = self.process.status(self.folder)
        detail = f"{PROGRAM} {wheels.versions().postgres}"
        return ServiceState(status=status, exit_code=code, detail=f"{detail} (process {pid})" if pid else detail)

    def _is_ours(self, pid: int) -> bool:
        """The program may lie elsewhere by now: its folder is the virtual environment's."""
        return command_line(pid)[1:] == self._command()[1:]

    def _command(self) -> list[str]:
        """The folder is the one that it works in: it may move with its checkout."""
        settings, state = self.checkout.settings, self.checkout.state
        options = {"host": HOST, "port": state.postgres_port, "username": settings.replication_user}
        words = [f"--{name}={value}" for name, value in (options | {"slot": slot_name(state.part)}).items()]
        return [str(wheels.program(PROGRAM)), "--directory=.", *HOW, *words]

    def _declared(self) -> str:
        return configuration.digest(self.checkout, str(self.folder), *self._command())
