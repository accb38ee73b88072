"""A TCP proxy in front of a real server that can be paused and cut, so that a shared server need not be."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit, urlunsplit

if TYPE_CHECKING:
    from types import TracebackType

HOST = "127.0.0.1"


class Link:
    """One client's connection and the proxy's own to the server."""

    def __init__(self, near: socket.socket, target: tuple[str, int], flowing: threading.Event) -> None:
        self.near = near
        self.far = socket.socket()
        self.target = target
        self.flowing = flowing
        self.severed = False
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def sever(self) -> None:
        """End it, whatever is under way; what waits for the flow must be let go on after this."""
        self.severed = True
        for end in (self.near, self.far):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _run(self) -> None:
        with self.near, self.far:
            self.flowing.wait()
            try:
                self.far.connect(self.target)
            except OSError:
                # Severed meanwhile, or the server is gone: the client sees a closed connection.
                return
            if self.severed:
                return
            back = threading.Thread(target=self._pump, args=(self.far, self.near), daemon=True)
            back.start()
            self._pump(self.near, self.far)
            back.join()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self.flowing.wait()
                if self.severed:
                    break
                sink.sendall(data)
        # The other direction ends with this one.
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


class Proxy:
    """Passes bytes on between clients and one server, with threads of its own.

    Args:
        url: of the server; `url` of the proxy is the same one by way of it.
    """

    def __init__(self, url: str) -> None:
        self.target = urlsplit(url)
        self.port = 0
        self.accepted = 0
        self._flowing = threading.Event()
        self._links: list[Link] = []
        self._thread: threading.Thread | None = None
        self._stop, self._stopped = socket.socketpair()

    @property
    def url(self) -> str:
        """The server's URL by way of this proxy."""
        login = self.target.netloc.rpartition("@")[0]
        return urlunsplit(self.target._replace(netloc=f"{login}@{HOST}:{self.port}"))

    def pause(self) -> None:
        """Hold every byte back, in both directions; connections stay open."""
        self._flowing.clear()

    def resume(self) -> None:
        """Let everything flow again, also what was held back."""
        self._flowing.set()

    def cut(self) -> None:
        """Sever all connections and refuse new ones; a pause ends with them."""
        if self._thread is not None:
            self._stop.send(b".")
            self._thread.join()
            self._thread = None
        for link in self._links:
            link.sever()
        self._flowing.set()
        for link in self._links:
            link.thread.join()
        self._links.clear()

    def mend(self) -> None:
        """Accept connections again, on the same port."""
        listener = socket.create_server((HOST, self.port))
        self.port = listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, args=(listener,), daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        """Begin to listen."""
        self.resume()
        self.mend()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Sever everything and end."""
        self.cut()
        self._stop.close()
        self._stopped.close()

    def _accept(self, listener: socket.socket) -> None:
        target = (self.target.hostname or HOST, self.target.port or 5432)
        with listener, selectors.DefaultSelector() as selector:
            selector.register(listener, selectors.EVENT_READ)
            selector.register(self._stopped, selectors.EVENT_READ)
            while all(key.fileobj is listener for key, _ in selector.select()):
                near, _ = listener.accept()
                self.accepted += 1
                self._links.append(Link(near, target, self._flowing))
            self._stopped.recv(1)
