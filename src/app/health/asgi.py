"""The health endpoints as an ASGI 3 application without a framework, to serve alone or to mount.

`/livez` asks nobody: it fails only where the process does, and restarting one because its database is away helps
nobody. `/readyz` asks Postgres and Redis, `/health/db` and `/health/redis` one of them; 200 for pass and warn, 503 for
fail. Every answer comes within the deadline of `app.health.health`, whatever the servers do.

    uvicorn app.health.asgi:application
"""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING, Any, Final

from app.errors import AppError
from app.health.document import MEDIA_TYPE, document

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from app.health.health import Health

    Message = dict[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]

METHODS: Final = ("GET", "HEAD")
SECTIONS: Final = {"/readyz": "", "/health/db": "db", "/health/redis": "redis"}
LIVE: Final = "/livez"


class HealthApplication:
    """Serves the health of one process.

    Args:
        make: makes what is asked; called once, in a thread, when the server starts or the first request comes.
    """

    def __init__(self, make: Callable[[], Health]) -> None:
        self._make = make
        self._making: asyncio.Future[Health] | None = None

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one connection, as ASGI has it."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await self._respond(scope, send)
        else:
            await send({"type": "websocket.close", "code": 1000})

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            health = await self._health()
        except AppError as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        health.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _respond(self, scope: Message, send: Send) -> None:
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        if path != LIVE and path not in SECTIONS:
            await _send(send, scope, 404, {"error": f"There is {', '.join((LIVE, *SECTIONS))}."})
        elif scope["method"] not in METHODS:
            await _send(send, scope, 405, {"error": f"{path} takes {' and '.join(METHODS)}."})
        elif path == LIVE:
            await _send(send, scope, 200, document([]))
        else:
            health = await self._health()
            found = await health.report_async(SECTIONS[path])
            await _send(send, scope, 503 if found["status"] == "fail" else 200, found)

    async def _health(self) -> Health:
        if self._making is None:
            # In a thread: reading the migrations takes longer than a loop may be held.
            self._making = asyncio.ensure_future(asyncio.to_thread(self._make))
        # Shielded: who asked first may leave, and others want it too.
        return await asyncio.shield(self._making)


async def _send(send: Send, scope: Message, status: int, body: dict[str, Any]) -> None:
    content = json.dumps(body).encode()
    headers = [
        (b"content-type", (MEDIA_TYPE if "status" in body else "application/json").encode()),
        (b"content-length", str(len(content)).encode()),
        (b"cache-control", b"no-store"),
    ]
    if status == 405:  # noqa: PLR2004 - HTTP's number
        headers.append((b"allow", ", ".join(METHODS).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else content})


def _of_this_process() -> Health:
    from app.db.database import get_database
    from app.health.health import Health
    from app.logs import configure_logging

    database = get_database()
    if not logging.getLogger().handlers:
        configure_logging(database.settings)
    return Health(database)


application = HealthApplication(_of_this_process)
