"""Ports of this checkout: chosen once from its identity, kept, and explained when somebody else has them."""

from __future__ import annotations

import random
import socket
from typing import TYPE_CHECKING

from drydock.checkout import HOST
from drydock.errors import PortTakenError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from drydock.checkout import Checkout

# Below Linux's ephemeral ports (32768) and macOS's (49152), above what services register.
RANGE = range(20000, 32000)
TRIES = 200


def assign(checkout: Checkout, ours: Callable[[int], bool], report: Callable[[str], None]) -> None:
    """Record the ports this environment will use.

    A recorded port that somebody took moves with PORTS=auto, and before the servers were first up: nobody has been told
    of it yet. One that is set in .env stays.

    Args:
        checkout: whose settings may name ports, and whose state may hold earlier ones.
        ours: tells whether a taken port is held by this environment's own server.
        report: takes a line where a port moves.

    Raises:
        PortTakenError: naming who holds a port and what to change.
    """
    state, chosen = checkout.state, {}
    wishes = {"postgres": checkout.settings.postgres_port, "redis": checkout.settings.redis_port}
    for service, wish in wishes.items():
        kept = wish or getattr(state, f"{service}_port")
        if kept and (is_free(kept) or ours(kept)):
            chosen[service] = kept
            continue
        if kept and checkout.settings.ports == "sticky" and (wish or state.system_identifier):
            raise taken_error(checkout, service, kept)
        chosen[service] = pick(f"{state.checkout} {service}", avoid=set(chosen.values()))
        if kept:
            report(f"port {kept} is taken by {holder(checkout, kept)}: {service} moves to {chosen[service]}")
    checkout.record(postgres_port=chosen["postgres"], redis_port=chosen["redis"])


def pick(seed: str, avoid: Iterable[int] = ()) -> int:
    """A free port, the same for the same seed while it stays free.

    Raises:
        PortTakenError: where none of many candidates is free.
    """
    candidates = random.Random(seed).sample(RANGE, TRIES)  # noqa: S311 - spread, not secrecy
    for port in candidates:
        if port not in avoid and is_free(port):
            return port
    raise PortTakenError(
        f"No free port among {TRIES} tried from {RANGE.start} to {RANGE.stop - 1}.",
        hint="Set POSTGRES_PORT and REDIS_PORT in .env.",
    )


def is_free(port: int) -> bool:
    """True where a server could listen on the port: nobody does, on our address or on all of them."""
    for address in (HOST, "0.0.0.0"):  # noqa: S104 - bound for an instant, never listened on
        with socket.socket() as probe:
            # As servers do: a port whose last connections are in TIME_WAIT is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError:
                return False
    return True


def explain(checkout: Checkout) -> PortTakenError | None:
    """The sentence for the first of this environment's ports that somebody holds; None where both are free."""
    for service in ("postgres", "redis"):
        port = getattr(checkout.state, f"{service}_port")
        if not is_free(port):
            return taken_error(checkout, service, port)
    return None


def taken_error(checkout: Checkout, service: str, port: int) -> PortTakenError:
    """The sentence for a port that somebody else holds."""
    variable = f"{service.upper()}_PORT"
    return PortTakenError(
        f"Port {port} for {service} is taken by {holder(checkout, port)}.",
        hint=f"Stop that, set {variable} to another port in .env, or set PORTS=auto to move.",
    )


def holder(checkout: Checkout, port: int) -> str:
    """Who listens on a port: a container by name, a process by name and id, or `another process`."""
    return _container(checkout, port) or _process(port) or "a process of another user"


def _container(checkout: Checkout, port: int) -> str:
    if checkout.state.engine != "docker":
        return ""
    import docker
    from docker.errors import DockerException

    try:
        containers = docker.from_env(timeout=5).containers.list(filters={"publish": str(port)})
    except (DockerException, OSError):
        return ""
    return f"container {containers[0].name} (docker stop {containers[0].name})" if containers else ""


def _process(port: int) -> str:
    import psutil

    try:
        listening = [
            c
            for c in psutil.net_connections("tcp")
            if c.status == psutil.CONN_LISTEN and c.laddr and c.laddr.port == port
        ]
        pid = next((c.pid for c in listening if c.pid), None)
        return f"{psutil.Process(pid).name()} (process {pid})" if pid else ""
    except psutil.Error:
        # macOS shows only root who listens.
        return ""
