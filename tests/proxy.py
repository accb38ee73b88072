"""A TCP proxy on a loopback port, for tests of networks that fail."""

from __future__ import annotations

import contextlib
import math
import socket
import threading


class Proxy:
    """Forwards connections to a server until it is told otherwise.

    Attributes:
        port: where it listens.
        opened: connections taken so far.
        budget: bytes that may still go to the server; after those every connection is ended as it sends.
    """

    def __init__(self, port: int) -> None:
        self._server = port
        self._cut = False
        self.opened = 0
        self.budget = math.inf
        self._listen(0)

    def cut(self) -> None:
        """From now on every byte is dropped, and nobody is told; connections are still taken."""
        self._cut = True

    def mend(self) -> None:
        """New connections work again; those that lost bytes stay dead."""
        self._cut = False

    def gone(self) -> None:
        """Nothing listens any more and every connection is ended."""
        _shut(self._listener)
        self._threads[0].join()
        for end in self._sockets:
            _shut(end)
        for thread in self._threads:
            thread.join()
        for end in (self._listener, *self._sockets):
            end.close()

    def back(self) -> None:
        """Listens again on the same port."""
        self._listen(self.port)

    def _listen(self, port: int) -> None:
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port: int = self._listener.getsockname()[1]
        self._start(threading.Thread(target=self._accept))

    def _start(self, thread: threading.Thread) -> None:
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # the listener was shut down
            while True:
                client, _ = self._listener.accept()
                self._sockets.append(client)
                server = socket.create_connection(("127.0.0.1", self._server))
                self._sockets.append(server)
                self.opened += 1
                dead = threading.Event()
                self._start(threading.Thread(target=self._pump, args=(client, server, dead), kwargs={"counted": True}))
                self._start(threading.Thread(target=self._pump, args=(server, client, dead)))

    def _pump(
        self, source: socket.socket, target: socket.socket, dead: threading.Event, *, counted: bool = False
    ) -> None:
        with contextlib.suppress(OSError):  # either side ended it
            while data := source.recv(65536):
                if counted:
                    self.budget -= len(data)
                    if self.budget < 0:
                        break
                if self._cut:
                    dead.set()
                if not dead.is_set():
                    target.sendall(data)
        _shut(source)
        _shut(target)


def _shut(end: socket.socket) -> None:
    with contextlib.suppress(OSError):  # the other side was first
        end.shutdown(socket.SHUT_RDWR)
