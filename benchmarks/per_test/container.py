"""A Postgres container as testcontainers starts one: the image's own configuration, durable, on any free port."""

from __future__ import annotations

import secrets
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import docker
import psycopg

from drydock.checkout import HOST, Checkout
from drydock.engine import POSTGRES
from drydock.images.resolve import resolve
from drydock.settings import load
from drydock.state import create

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

POLL = 0.05  # seconds


@contextmanager
def container(root: Path) -> Iterator[str]:
    """Start one with the roles that the project's migrations expect; the superuser's URL. Removed afterwards."""
    settings, password = load(root), secrets.token_hex(16)
    client = docker.from_env()
    image = resolve(client, Checkout(settings, create(root, "benchmark")), POSTGRES, lambda _: None)
    started = client.containers.run(
        image, detach=True, environment={"POSTGRES_PASSWORD": password}, ports={"5432/tcp": (HOST, None)}
    )
    try:
        started.reload()
        port = started.ports["5432/tcp"][0]["HostPort"]
        url = f"postgresql://postgres:{password}@{HOST}:{port}/postgres"
        with _connected(url) as connection:
            for role in {settings.owner, settings.app_user, getattr(settings, "backup_user", settings.app_user)}:
                connection.execute(f"CREATE ROLE {role}".encode())
        yield url
    finally:
        started.remove(force=True, v=True)
        client.close()


def _connected(url: str) -> psycopg.Connection:
    deadline = time.monotonic() + 60
    while True:
        try:
            return psycopg.connect(url, autocommit=True)
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(POLL)
