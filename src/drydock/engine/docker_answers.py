"""What Docker answers, in our words: a container's state, and why something was refused."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from docker.errors import APIError, DockerException, ImageNotFound

from drydock.engine import ServiceState
from drydock.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def failing(doing: str) -> Iterator[None]:
    """Turn what Docker refuses into a sentence that says what was being done."""
    try:
        yield
    except (APIError, ImageNotFound, OSError, DockerException) as error:
        raise EngineError(f"Could not {doing}: {reason(error)}.", hint="invoke doctor") from error


def reason(error: Exception) -> str:
    """The innermost cause in one line, without the SDK's wrapping."""
    text = getattr(error, "explanation", None) or str(error)
    found = re.search(r"(FileNotFoundError|ConnectionRefusedError|PermissionError)\(\d+, '([^']+)'", text)
    return (found.group(2) if found else text.splitlines()[0]).rstrip(".")


def service_state(attributes: dict[str, Any]) -> ServiceState:
    """A container's state, from what `docker inspect` says of it."""
    state = attributes["State"]
    return ServiceState(
        status=state["Status"],
        exit_code=state["ExitCode"] if state["Status"] in {"exited", "dead", "restarting"} else None,
        restarts=attributes.get("RestartCount", 0),
        health=state.get("Health", {}).get("Status", ""),
        detail=f"{attributes['Config']['Image']} ({attributes['Id'][:12]})",
    )
