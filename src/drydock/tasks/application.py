"""health and serve: the project's own application in this environment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from invoke.exceptions import Exit

from drydock.checks import Status
from drydock.errors import NotReadyError
from drydock.tasks.common import command, whole_number

if TYPE_CHECKING:
    from drydock.console import Console


@command()
def health(console: Console, json: bool = False) -> None:
    """Print the application's health (application/health+json with --json); exit code 5 where it fails."""
    from drydock import health as work
    from drydock.environment import open_existing

    found = work.document(open_existing())
    console.result(found, [*console.checks(work.checks(found)), f"status: {found['status']}"])
    if found["status"] == Status.FAIL:
        raise Exit(code=NotReadyError.exit_code)


@command(help={"port": "On 127.0.0.1; one of this checkout's own by default."})
def serve(console: Console, port: str = "0", json: bool = False) -> None:
    """Serve the application over HTTP on this machine, with this environment's URLs; Ctrl-C ends it."""
    from drydock import serve as work
    from drydock.environment import open_existing

    number = whole_number("--port", port, most=65535)
    environment = open_existing()
    application = environment.settings.project.serve

    def tell(url: str) -> None:
        console.result({"url": url, "application": application}, [f"Serving {application} on {url}; Ctrl-C ends it."])

    work.run(environment, number, tell)


TASKS = (health, serve)
