"""pytest-postgresql on the same server, with its own template of the same content."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from psycopg.conninfo import conninfo_to_dict, make_conninfo
from pytest_postgresql import factories

from benchmarks.per_test import content
from benchmarks.per_test.timer import FACTS

_server = conninfo_to_dict(FACTS["url"])


def load(**where: Any) -> None:
    """Fill the template that the plugin clones."""
    names = {name: where[name] for name in ("host", "port", "user", "password", "dbname")}
    # As a URL: Alembic's env.py knows no other form.
    url = "postgresql://{user}:{password}@{host}:{port}/{dbname}".format(**names)
    content.fill(Path(FACTS["root"]), url)
    if FACTS["size"]:
        content.seed(make_conninfo(url), FACTS["size"])


peer_server = factories.postgresql_noproc(
    host=str(_server["host"]),
    port=str(_server["port"]),
    user=str(_server["user"]),
    password=str(_server["password"]),
    dbname="peer",
    load=[load],
)
connection = factories.postgresql("peer_server")
