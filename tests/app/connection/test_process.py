"""One pool per process: environment variables in, and a forked child that cannot touch its parent's connections."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.waiting import eventually

if TYPE_CHECKING:
    from tests.app.database import Onlooker

ENVIRONMENT = """
import app.db
database = app.db.get_database()
assert database is app.db.get_database()
assert database.test_connection()
stats = database.pool_stats()
print(stats.minimum, stats.maximum, database.settings.db_statement_timeout)
"""
FORK = """
import gc, os, sys
from sqlalchemy import text
import app.db
database = app.db.get_database()
PID = text("SELECT pg_backend_pid()")
session = database._sessions()
session.execute(text("CREATE TEMPORARY TABLE mine AS SELECT 1 AS n"))
before = {session.scalar(PID)}
with database.engine.connect() as other:
    before.add(other.scalar(PID))
child = os.fork()
if child == 0:
    # Whatever the child does to what it inherited, it does not reach the server.
    try:
        session.rollback()
    except Exception as error:
        print(type(error).__name__, flush=True)
    session.close()
    del session
    gc.collect()
    with database.engine.connect() as fresh:
        print(fresh.scalar(PID) in before, flush=True)
    database.close_connections()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
print(session.scalar(text("SELECT n FROM mine")), database.test_connection(), flush=True)
session.close()
database.close_connections()
"""


def run(code: str, url: str, **variables: str) -> list[str]:
    """A process of its own with nothing but these variables; returns its lines."""
    keep = {name: value for name, value in os.environ.items() if not name.startswith(("DB_", "DATABASE_", "APP_ENV"))}
    # Python 3.12 warns of a fork beside threads, which is the very situation under test.
    command = [sys.executable, "-W", "error", "-W", "ignore:This process:DeprecationWarning", "-c", code]
    environment = keep | {"DATABASE_URL": url} | variables
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\n")[:-1]


def test_variables_of_the_environment(app_url: str, onlooker: Onlooker) -> None:
    """The documented variables reach the pool; a process that ends leaves no session, even without closing it."""
    found = run(ENVIRONMENT, app_url, DB_POOL_MIN="1", DATABASE_POOL_SIZE="3", DB_STATEMENT_TIMEOUT="7")
    assert found == ["1 3 7.0"]
    eventually(lambda: onlooker.sessions() == [], "the sessions are gone")


def test_a_forked_child_has_connections_of_its_own(app_url: str) -> None:
    """The child gets others, and neither its rollback nor its destructors end the parent's transaction."""
    raised, reused, survived = run(FORK, app_url)
    assert raised in {"OperationalError", "InterfaceError"}
    assert reused == "False"
    assert survived == "1 True"
