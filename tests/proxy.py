"""A TCP proxy in front of a real server that can fail in the ways a network does, so that a shared server need not."""

from __future__ import annotations

import contextlib
import math
import selectors
import socket
import threading
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit, urlunsplit

if TYPE_CHECKING:
    from types import TracebackType

HOST = "127.0.0.1"


class Weather:
    """What the network does to bytes under way: they flow unless they are held back, may get lost, and may run out."""

    def __init__(self) -> None:
        self.flowing = threading.Event()
        self.lossy = False
        self.budget = math.inf


class Link:
    """One client's connection and the proxy's own to the server."""

    def __init__(self, near: socket.socket, target: tuple[str, int], weather: Weather) -> None:
        self.near = near
        self.far = socket.socket()
        self.target = target
        self.weather = weather
        self.severed = False
        self.dead = False
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
            self.weather.flowing.wait()
            try:
                self.far.connect(self.target)
            except OSError:
                # Severed meanwhile, or the server is gone: the client sees a closed connection.
                return
            if self.severed:
                return
            back = threading.Thread(target=self._pump, args=(self.far, self.near), daemon=True)
            back.start()
            self._pump(self.near, self.far, counted=True)
            back.join()

    def _pump(self, source: socket.socket, sink: socket.socket, *, counted: bool = False) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self.weather.flowing.wait()
                if counted:
                    self.weather.budget -= len(data)
                if self.severed or (counted and self.weather.budget < 0):
                    break
                self.dead = self.dead or self.weather.lossy
                if not self.dead:
                    sink.sendall(data)
        # The other direction ends with this one.
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


class Proxy:
    """Passes bytes on between clients and one server, with threads of its own.

    Args:
        url: of the server, with its port.

    Attributes:
        port: where it listens.
        opened: connections taken so far.
    """

    def __init__(self, url: str) -> None:
        self.target = urlsplit(url)
        self.port = 0
        self.opened = 0
        self._weather = Weather()
        self._links: list[Link] = []
        self._thread: threading.Thread | None = None
        self._stop, self._stopped = socket.socketpair()

    @property
    def budget(self) -> float:
        """Bytes that may still go to the server; after those every connection is ended as it sends."""
        return self._weather.budget

    @budget.setter
    def budget(self, left: float) -> None:
        self._weather.budget = left

    @property
    def url(self) -> str:
        """The server's URL by way of this proxy."""
        login, at, _ = self.target.netloc.rpartition("@")
        return urlunsplit(self.target._replace(netloc=f"{login}{at}{HOST}:{self.port}"))

    def pause(self) -> None:
        """Hold every byte back, in both directions; connections stay open."""
        self._weather.flowing.clear()

    def resume(self) -> None:
        """Let everything flow again, also what was held back."""
        self._weather.flowing.set()

    def lose(self) -> None:
        """From now on every byte is dropped, and nobody is told; connections are still taken."""
        self._weather.lossy = True

    def cut(self) -> None:
        """Sever all connections and refuse new ones; a pause ends with them."""
        if self._thread is not None:
            self._stop.send(b".")
            self._thread.join()
            self._thread = None
        for link in self._links:
            link.sever()
        self.resume()
        for link in self._links:
            link.thread.join()
        self._links.clear()

    def mend(self) -> None:
        """Lose nothing more and accept connections again, on the same port; those that lost bytes stay dead."""
        self._weather.lossy = False
        if self._thread is not None:
            return
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
        assert self.target.port
        target = (self.target.hostname or HOST, self.target.port)
        with listener, selectors.DefaultSelector() as selector:
            selector.register(listener, selectors.EVENT_READ)
            selector.register(self._stopped, selectors.EVENT_READ)
            while all(key.fileobj is listener for key, _ in selector.select()):
                near, _ = listener.accept()
                self.opened += 1
                self._links.append(Link(near, target, self._weather))
            self._stopped.recv(1)
