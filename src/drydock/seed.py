"""Seeds: the project's own function or SQL file, run in one transaction as the owner role."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from drydock import postgres, project
from drydock.errors import DrydockError, SeedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from drydock.environment import Environment

    Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Seeded:
    """What a seeding did: rows inserted or changed by table, and how many seconds it took."""

    size: str
    written: dict[str, int]
    seconds: float


def run(environment: Environment, *, size: str, database: str = "", progress: Progress | None = None) -> Seeded:
    """Seed `database` (default: the application's) and note in it that this was done; all of it or nothing.

    Args:
        environment: whose database.
        size: small, medium or large.
        database: another database of the same server.
        progress: called with table, rows done and rows in all.

    Raises:
        SeedError: where the project's seeds fail; nothing of them is kept.
    """
    begun = time.monotonic()
    with postgres.connect(environment, environment.owner, database, autocommit=False) as connection:
        postgres.prove_ours(environment, connection)
        postgres.sign(connection, f"seed --size {size}")
        written = _run(environment, connection, size, progress)
        postgres.note(connection, "seeded", size)
    return Seeded(size, written, time.monotonic() - begun)


def _run(
    environment: Environment, connection: postgres.Connection, size: str, progress: Progress | None
) -> dict[str, int]:
    reference = environment.settings.project.seeds
    if not reference:
        return {}
    try:
        if reference.endswith(".sql"):
            return _run_file(environment, connection, reference)
        return dict(project.load(environment.settings, "seeds")(connection, size=size, progress=progress))
    except DrydockError:
        raise
    except Exception as error:
        reason = str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__
        raise SeedError(
            f"Seeding ({reference}) failed: {reason}. Nothing of it was kept.",
            hint="Correct the seeds, then: invoke seed",
        ) from error


def _run_file(environment: Environment, connection: postgres.Connection, name: str) -> dict[str, int]:
    path = environment.settings.root / name
    if not path.exists():
        raise SeedError(f"[tool.drydock] seeds names {name}, which does not exist.")
    # Without parameters psycopg sends the text as it is: several statements in one go (the simple query protocol).
    cursor = connection.execute(path.read_bytes())
    rows = max(cursor.rowcount, 0)
    while cursor.nextset():
        rows += max(cursor.rowcount, 0)
    return {name: rows}
