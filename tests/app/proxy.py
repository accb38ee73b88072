"""A TCP proxy in front of a real server that can be paused and cut, so that a shared server need not be."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit, urlunsplit

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from types import TracebackType
    from typing import Any

HOST = "127.0.0.1"


class Proxy:
    """Passes bytes on between clients and one server, from a thread of its own.

    Args:
        url: of the server; `url` of the proxy is the same one by way of it.
    """

    def __init__(self, url: str) -> None:
        self.target = urlsplit(url)
        self.port = 0
        self.accepted = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._pumps: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()

    @property
    def url(self) -> str:
        """The server's URL by way of this proxy."""
        login = self.target.netloc.rpartition("@")[0]
        return urlunsplit(self.target._replace(netloc=f"{login}@{HOST}:{self.port}"))

    def pause(self) -> None:
        """Hold every byte back, in both directions; connections stay open."""
        self._loop.call_soon_threadsafe(self._flowing.clear)

    def resume(self) -> None:
        """Let everything flow again, also what was held back."""
        self._loop.call_soon_threadsafe(self._flowing.set)

    def cut(self) -> None:
        """Sever all connections and refuse new ones."""
        self._do(self._cut())

    def mend(self) -> None:
        """Accept connections again, on the same port."""
        self._do(self._listen())

    def __enter__(self) -> Self:
        """Begin to listen."""
        self._thread.start()
        self.resume()
        self.mend()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Sever everything and end."""
        self._do(self._cut())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=10)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, HOST, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _cut(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._writers):
            writer.transport.abort()
        for pump in list(self._pumps):
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)
        # The transports' own last callbacks.
        await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self._writers.add(writer)
        task = asyncio.current_task()
        assert task is not None
        self._pumps.add(task)
        try:
            await self._flowing.wait()
            far_reader, far_writer = await asyncio.open_connection(self.target.hostname, self.target.port)
            self._writers.add(far_writer)
            await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))
        except (OSError, asyncio.CancelledError):
            return
        finally:
            self._pumps.discard(task)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                await self._flowing.wait()
                writer.write(data)
                await writer.drain()
        self._writers.discard(writer)
        writer.transport.abort()
