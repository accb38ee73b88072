"""Which engine runs this checkout: chosen once, said aloud, recorded, and never changed silently."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drydock.errors import EngineError

if TYPE_CHECKING:
    from drydock.checkout import Checkout
    from drydock.engine import Engine


def choose(checkout: Checkout) -> tuple[str, str]:
    """The engine for this environment and the reason for it: (`docker` or `embedded`, a clause).

    Raises:
        EngineError: where neither works, where the one asked for does not, or where settings and record disagree.
    """
    wanted, recorded = checkout.settings.engine, checkout.state.engine
    if recorded:
        if wanted not in {"auto", recorded}:
            raise EngineError(
                f"This environment runs on the {recorded} engine and ENGINE={wanted} would start an empty one.",
                hint=f"Set ENGINE={recorded}, or give its data up with `invoke destroy`.",
            )
        return recorded, checkout.state.engine_reason
    if wanted == "auto":
        return _first_working()
    found = problem(wanted)
    if found:
        raise EngineError(found, hint="Mend that, or set ENGINE=auto in .env.")
    return wanted, f"ENGINE={wanted}"


def make(checkout: Checkout) -> Engine:
    """The recorded engine's implementation; only the one in use is imported."""
    if checkout.state.engine == "docker":
        from drydock.engine.docker import DockerEngine

        return DockerEngine(checkout)
    from drydock.engine.embedded import EmbeddedEngine

    return EmbeddedEngine(checkout)


def problems() -> dict[str, str]:
    """Why each engine could not be used, by name; empty for one that could."""
    return {engine: problem(engine) for engine in ("docker", "embedded")}


def problem(engine: str) -> str:
    """Why one engine could not be used; empty where it could."""
    return _docker_problem() if engine == "docker" else _embedded_problem()


def _first_working() -> tuple[str, str]:
    docker = _docker_problem()
    if not docker:
        return "docker", "a Docker engine answers"
    embedded = _embedded_problem()
    if not embedded:
        return "embedded", docker.rstrip(".")
    raise EngineError(f"{docker} {embedded}", hint='Start Docker, or: pip install -e ".[embedded]"')


def _docker_problem() -> str:
    from drydock.engine.docker import connect

    try:
        connect().close()
    except EngineError as error:
        return error.message
    return ""


def _embedded_problem() -> str:
    from drydock.engine.processes import namespace_problem
    from drydock.engine.wheels import available

    return available() or namespace_problem()
