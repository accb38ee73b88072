"""The code of docs/service.md, run as it stands there, in a process of its own."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import psycopg

from drydock.settings import child_environment
from tests.alembic_calls import ROOT

if TYPE_CHECKING:
    from drydock.testing import Namespace
    from tests.app.conftest import AppDatabase

SAY = """
print(count, cached, len(newest), decision.allowed, decision.remaining)
"""


def test_the_page_s_code_runs(app_database: AppDatabase, redis_namespace: Namespace) -> None:
    """Every block, in order, as the application role; what it says it does is in the database afterwards."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "service.md").read_text(encoding="utf-8"), re.DOTALL)
    variables = {
        "APP_ENV": "development",
        "DATABASE_URL": app_database.app_url,
        "DATABASE_OWNER_URL": app_database.owner_url,
        "REDIS_URL": redis_namespace.url,
        "PYTHONPATH": str(ROOT / "src"),
    }
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", "\n".join([*blocks, SAY])],
        env=child_environment(variables),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip() == "1 0 3 True 4"
    with psycopg.connect(app_database.superuser_url) as connection:
        counted = connection.execute("SELECT count(*), count(*) FILTER (WHERE status = 'closed') FROM forms").fetchall()
        trail = connection.execute("SELECT action, changes->'status' FROM audit_events").fetchall()
    assert counted == [(251, 1)]
    assert trail == [("form.closed", ["published", "closed"])]
