"""The compose files of an environment, and the variables they are brought up with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drydock.engine import MAJOR, POSTGRES, REDIS, compose, configuration
from drydock.recovery.archive.folders import part_folder, slot_name

if TYPE_CHECKING:
    from drydock.checkout import Checkout


def make(checkout: Checkout, *, modern: bool, user: str = "") -> compose.Compose:
    """The declaration of a checkout's environment.

    Args:
        checkout: whose.
        modern: whether the engine knows health checks' start_interval.
        user: whom the archiver runs as; needed where that is started.
    """
    folder = configuration.compose_folder(checkout.settings)
    files = [folder / "compose.yaml", *([folder / "start-interval.yaml"] if modern else [])]
    if checkout.settings.throwaway:
        files.append(folder / "throwaway.yaml")
    values = _server_variables(checkout) | _archiver_variables(checkout, user)
    values["HEALTH_INTERVAL"] = "5s" if modern else "1s"
    return compose.Compose(tuple(files), {f"DRYDOCK_{name}": value for name, value in values.items()})


def postgres_volume(checkout: Checkout) -> str:
    """The volume of the current incarnation; the Postgres major is in its name."""
    return f"{checkout.state.name}-postgres-{MAJOR}-{checkout.state.incarnation}"


def _server_variables(checkout: Checkout) -> dict[str, str]:
    settings, state = checkout.settings, checkout.state
    return {
        "NAME": state.name,
        "CHECKOUT": state.checkout,
        "ROOT": str(settings.root),
        "FOLDER": str(settings.folder),
        "STARTED_WITH": configuration.digest(checkout),
        "POSTGRES_IMAGE": state.images.get(POSTGRES, settings.postgres_image),
        "REDIS_IMAGE": state.images.get(REDIS, settings.redis_image),
        "POSTGRES_PORT": str(state.postgres_port),
        "REDIS_PORT": str(state.redis_port),
        "POSTGRES_MEMORY": settings.postgres_memory,
        "POSTGRES_SHM": settings.postgres_shm,
        "REDIS_MEMORY": settings.redis_memory,
        "POSTGRES_VOLUME": postgres_volume(checkout),
        "REDIS_VOLUME": f"{state.name}-redis",
    }


def _archiver_variables(checkout: Checkout, user: str) -> dict[str, str]:
    return {
        "ARCHIVER_USER": user,
        "REPLICATION_USER": checkout.settings.replication_user,
        "WAL_FOLDER": str(part_folder(checkout)),
        "SLOT": slot_name(checkout.state.part),
    }
