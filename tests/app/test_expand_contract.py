"""The example of docs/expand-contract.md, run as it stands there."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from alembic import command
from alembic.script import ScriptDirectory
from psycopg import errors
from sqlalchemy import create_engine, text

from app.db import tenancy
from app.db.tenancy import system_access
from app.seeds import seed
from app.seeds.plan import identity
from tests.alembic_calls import ROOT, alembic_config

if TYPE_CHECKING:
    from pathlib import Path

    from alembic.config import Config

    from tests.app.conftest import AppDatabase

EXPAND, MOVE, VALIDATE, CONTRACT = re.findall(
    r"```python\n(.*?)```", (ROOT / "docs" / "expand-contract.md").read_text(), re.DOTALL
)
IMPORTS = "import sqlalchemy as sa\nfrom alembic import op\n\nbranch_labels = depends_on = None\n"
ACME = identity("organizations", 0)


@pytest.fixture
def config(app_database: AppDatabase, tmp_path: Path) -> Config:
    """A seeded database, and the page's migrations after ours."""
    config = alembic_config(app_database.owner_url)
    (head,) = ScriptDirectory.from_config(config).get_heads()
    for name, code in (("expand", EXPAND), ("validate", VALIDATE), ("contract", CONTRACT)):
        (tmp_path / f"{name}.py").write_text(f'"""{name.title()}."""\n{IMPORTS}\n{code.replace("HEAD", head)}')
    config.set_main_option("version_locations", os.pathsep.join((str(ROOT / "migrations/versions"), str(tmp_path))))
    with psycopg.connect(app_database.owner_url) as connection:
        seed(connection)
    return config


def service(url: str, statement: str) -> list[Any]:
    """What a running version of the service does for Acme."""
    with psycopg.connect(url) as connection:
        connection.execute("SELECT set_config('app.tenant_id', %s, true)", [str(ACME)])
        cursor = connection.execute(statement.encode())
        return [row[0] for row in cursor.fetchall()] if cursor.description else []


def test_both_versions_of_a_service_live_through_it(config: Config, app_database: AppDatabase) -> None:
    """Old and new read and write through every step, and no row is lost either way."""
    url = app_database.app_url
    titles = ["Contact us", "How did we do?"]
    command.upgrade(config, "e0e0e0e0e001")
    old, new = (
        "INSERT INTO forms (slug, {0}) VALUES ('{1}', '{1}')".format(*words)
        for words in (("title", "old"), ("heading", "new"))
    )
    service(url, old)
    service(url, new)
    service(url, "UPDATE forms SET title = 'old too' WHERE slug = 'old'")
    service(url, "UPDATE forms SET heading = 'new too' WHERE slug = 'new'")
    for column in ("title", "heading"):
        mine = f"SELECT {column} FROM forms WHERE slug IN ('old', 'new') ORDER BY 1"
        assert service(url, mine) == ["new too", "old too"]

    names: dict[str, Any] = {"text": text, "system_access": system_access}
    exec(MOVE, names)  # noqa: S102 (the page's own code, under test)
    engine = create_engine(app_database.owner_url)
    tenancy.install(engine)
    moved = [names["move"](engine, rows=4) for _ in range(3)]
    engine.dispose()
    assert moved == [4, 2, 0]

    command.upgrade(config, "e0e0e0e0e003")
    assert service(url, "SELECT heading FROM forms ORDER BY 1") == sorted([*titles, "new too", "old too"])
    with pytest.raises(errors.NotNullViolation):
        service(url, "INSERT INTO forms (slug) VALUES ('nothing')")
    command.downgrade(config, "-3")
    assert service(url, "SELECT title FROM forms ORDER BY 1") == sorted([*titles, "new too", "old too"])
    command.check(alembic_config(app_database.owner_url))
