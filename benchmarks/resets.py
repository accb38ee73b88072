"""`reset` against a bare clone by psql, and against making the database again from its migrations and seeds."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.measure import Limit, Row, interleave, run, seconds
from benchmarks.stage import checkout
from drydock.checkout import HOST
from drydock.engine.wheels import program
from drydock.template import LEAVING

if TYPE_CHECKING:
    from benchmarks.measure import Take
    from tests.checkout import Checkout

ROUNDS, SMALL_ROUNDS, REBUILDS = 7, 9, 2
SCRIPT = Path(__file__).with_name("floor_up.py")
# The database that the bare clone replaces, where it is built, and where the replaced one goes.
BARE, COMING, PREVIOUS, AGAIN = "bare", "bare_coming", "bare_previous", "bare_again"


def measure(rounds: int | None = None) -> list[Row]:
    """Rows at small for both engines and at medium for Docker, where the database is made again as well."""
    with checkout("docker") as dock:
        found = [
            _clone(dock, "small", rounds or SMALL_ROUNDS),
            _clone(dock, "medium", rounds or ROUNDS, Limit(2)),
            _again(dock, "medium", rounds or REBUILDS),
        ]
    with checkout("embedded") as dock:
        return [*found, _clone(dock, "small", rounds or SMALL_ROUNDS)]


def _clone(dock: Checkout, size: str, rounds: int, limit: Limit | None = None) -> Row:
    """`invoke reset` and the bare clone of the same template in turn."""
    template = dock.json("reset", "--size", size)["template"]
    _psql(dock, f"CREATE DATABASE {BARE} TEMPLATE {template} STRATEGY FILE_COPY")

    def ours() -> float:
        _settle(dock)
        return seconds(lambda: dock.run("reset", "--size", size))

    def theirs() -> float:
        _settle(dock)
        took = seconds(lambda: _psql(dock, *_bare_reset(template)))
        _psql(dock, f"DROP DATABASE {PREVIOUS}")
        return took

    interleave(1, ours, theirs)
    resets, clones = interleave(rounds, ours, theirs)
    _psql(dock, f"DROP DATABASE {BARE}")
    return Row(_what(dock, size), "psql: `CREATE DATABASE … FILE_COPY`, rename", resets, clones, limit)


def _again(dock: Checkout, size: str, rounds: int) -> Row:
    """`invoke reset` and drop, create, migrate and seed in turn; nothing of drydock is in the latter."""
    again = _rebuild(dock, size)
    resets, rebuilds = interleave(rounds, lambda: seconds(lambda: dock.run("reset", "--size", size)), again)
    _psql(dock, f"DROP DATABASE {AGAIN}")
    return Row(_what(dock, size), "drop, create, migrate, seed", resets, rebuilds, Limit(10, at_least=True))


def _what(dock: Checkout, size: str) -> str:
    return f"`invoke reset`, {dock.environment.state.engine}, {size}"


def _settle(dock: Checkout) -> None:
    """Finish what the side before left behind: a drop that the server goes on with, and what is yet to be written."""
    _psql(dock, f"DROP DATABASE IF EXISTS {dock.environment.settings.database}{LEAVING}", "CHECKPOINT")
    os.sync()


def _bare_reset(template: str) -> list[str]:
    """What a person would give psql: end the sessions, clone, swap by two renames."""
    return [
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname IN ('{BARE}', '{template}')",
        f"CREATE DATABASE {COMING} TEMPLATE {template} STRATEGY FILE_COPY",
        f"ALTER DATABASE {BARE} RENAME TO {PREVIOUS}",
        f"ALTER DATABASE {COMING} RENAME TO {BARE}",
    ]


def _rebuild(dock: Checkout, size: str) -> Take:
    statements = (f"DROP DATABASE IF EXISTS {AGAIN}", f"CREATE DATABASE {AGAIN} TEMPLATE template0")
    command, environ = _psql_call(dock, *statements)
    url = dock.environment.database_url(dock.environment.superuser, AGAIN)
    job = json.dumps({"run": [command], "url": url, "size": size})
    environ |= {"PYTHONPATH": str(dock.root / "src")}
    return lambda: seconds(lambda: run([sys.executable, str(SCRIPT), job], dock.root, environ))


def _psql(dock: Checkout, *statements: str) -> None:
    command, environ = _psql_call(dock, *statements)
    run(command, environment=environ)


def _psql_call(dock: Checkout, *statements: str) -> tuple[list[str], dict[str, str]]:
    """One call of psql as the superuser, as one would type it: the command and its process environment."""
    environment = dock.environment
    superuser = environment.superuser
    options = ["--no-psqlrc", "--quiet", "-v", "ON_ERROR_STOP=1", "-h", HOST, "-U", superuser.name, "-d", "postgres"]
    options += [part for statement in statements for part in ("-c", statement)]
    if environment.state.engine == "embedded":
        port = ["-p", str(environment.state.postgres_port)]
        return [str(program("psql")), *port, *options], dock.environ | {"PGPASSWORD": superuser.password}
    container = f"{environment.state.name}-postgres-1"
    password = ["--env", "PGPASSFILE=/run/secrets/pgpass"]
    return ["docker", "exec", *password, container, "psql", *options], dict(dock.environ)
