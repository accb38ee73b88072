"""The project's ASGI application on a loopback port, with this environment's servers."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import TYPE_CHECKING

from drydock import ports, project
from drydock.checkout import HOST
from drydock.errors import DrydockError, NotReadyError, PortTakenError, SettingsError
from drydock.health import application

if TYPE_CHECKING:
    from collections.abc import Callable

    from drydock.environment import Environment


def run(environment: Environment, port: int, tell: Callable[[str], None]) -> None:
    """Serve what [tool.drydock] serve names until Ctrl-C.

    Args:
        environment: whose servers the application uses.
        port: on 127.0.0.1; 0 for one of this checkout's own, the same each time while it is free.
        tell: called with the URL once connections are taken.

    Raises:
        SettingsError: where no application is named, or it cannot be imported.
        PortTakenError: where somebody else has the port.
        NotReadyError: where the application does not start.
    """
    if not environment.settings.project.serve:
        raise SettingsError(
            "[tool.drydock] names no application to serve.", hint='Add for instance: serve = "shop.web:application"'
        )
    try:
        import uvicorn
    except ImportError as error:
        raise DrydockError("`invoke serve` needs uvicorn.", hint='pip install "drydock[serve]"') from error
    with application(environment), _listen(environment, port) as listener:
        # Its logs go wherever the application sends its own.
        server = uvicorn.Server(uvicorn.Config(project.load(environment.settings, "serve"), log_config=None))
        tell(f"http://{HOST}:{listener.getsockname()[1]}")
        # uvicorn ends in order and then raises what ended it: Ctrl-C, or its own exit where the start failed.
        with suppress(KeyboardInterrupt, SystemExit):
            server.run(sockets=[listener])
    if not server.started:
        reference = environment.settings.project.serve
        raise NotReadyError(f"{reference} did not start; what it says is above.", hint="invoke status")


def _listen(environment: Environment, port: int) -> socket.socket:
    chosen = port or ports.pick(f"{environment.state.checkout} serve")
    if not ports.is_free(chosen):
        raise PortTakenError(
            f"Port {chosen} is taken by {ports.holder(environment, chosen)}.",
            hint="Stop that, or name another one: invoke serve --port …",
        )
    return socket.create_server((HOST, chosen))
