"""An existing project with its own Alembic folder: a dependency, a two-line tasks.py and [tool.drydock]."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.checkout import Checkout

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TASKS = "from drydock.tasks import namespace as drydock_tasks\nnamespace = drydock_tasks()\n"
MODELS = """
from sqlalchemy import MetaData, Table, Column, Integer, Text

metadata = MetaData()
Table("parcels", metadata, Column("id", Integer, primary_key=True), Column("label", Text, nullable=False))
"""
MIGRATION = '''"""Parcels."""
from alembic import op
import sqlalchemy as sa

revision = "0001"
down_revision = None


def upgrade():
    op.create_table(
        "parcels", sa.Column("id", sa.Integer, primary_key=True), sa.Column("label", sa.Text, nullable=False)
    )


def downgrade():
    op.drop_table("parcels")
'''
FILL = """
INSERT_ROWS = "INSERT INTO parcels SELECT n, 'p' FROM generate_series(1, %s) n ON CONFLICT DO NOTHING"


def fill(connection, *, size, progress):
    rows = {"small": 3, "medium": 5, "large": 7}[size]
    return {"parcels": connection.execute(INSERT_ROWS, (rows,)).rowcount}
"""
FILL_SQL = "INSERT INTO parcels SELECT n, 'p' FROM generate_series(1, 3) n ON CONFLICT DO NOTHING;\n"
SEEDS = {"python": ("parcels.fill:fill", "fill.py", FILL), "sql": ("parcels/fill.sql", "fill.sql", FILL_SQL)}
PROJECT = """
[project]
name = "parcels"

[tool.drydock]
alembic = "alembic.ini"
metadata = "parcels.models:metadata"
seeds = "{seeds}"
extensions = []
"""


@pytest.fixture(params=sorted(SEEDS))
def project(request: pytest.FixtureRequest, engine_name: str, tmp_path: Path) -> Iterator[Checkout]:
    """A project made with Alembic's own template, nothing of this bundle's files in it."""
    seeds, name, text = SEEDS[request.param]
    root = tmp_path / "parcels service"
    checkout = Checkout.__new__(Checkout)
    checkout.root, checkout.environ = root, Checkout(tmp_path / "elsewhere", ENGINE=engine_name).environ
    root.mkdir()
    subprocess.run([sys.executable, "-m", "alembic", "init", "db/alembic"], cwd=root, check=True, capture_output=True)
    environment = root / "db" / "alembic" / "env.py"
    environment.write_text(
        environment.read_text()
        .replace("target_metadata = None", "from parcels.models import metadata as target_metadata")
        .replace(
            "config = context.config",
            'import os\nconfig = context.config\nconfig.set_main_option("sqlalchemy.url", os.environ["DATABASE_URL"])',
        )
    )
    (root / "parcels").mkdir()
    (root / "parcels" / "__init__.py").touch()
    (root / "parcels" / "models.py").write_text(MODELS)
    (root / "parcels" / name).write_text(text)
    (root / "tasks.py").write_text(TASKS)
    (root / ".env").write_text("STRIPE_KEY=abc\n")
    (root / "pyproject.toml").write_text(PROJECT.format(seeds=seeds))
    (root / "db" / "alembic" / "versions" / "0001_parcels.py").write_text(MIGRATION)
    yield checkout
    checkout.remove()


def test_an_existing_project_uses_every_task(project: Checkout) -> None:
    """up, status, reset, check and a new migration work on another project's Alembic folder, models and seeds."""
    up = project.json("up")
    assert up["migrated"] == ["0001"]
    assert project.query("SELECT count(*) FROM parcels") == [(3,)]
    assert "STRIPE_KEY=abc" in (project.root / ".env").read_text()
    assert project.json("up")["changed"] is False
    project.query("DELETE FROM parcels")
    project.run("reset")
    assert project.query("SELECT count(*) FROM parcels") == [(3,)]
    assert project.json("migrate.check")["clean"] is True
    assert project.json("migrate.history")["revisions"][0]["current"] is True
    models = project.root / "parcels" / "models.py"
    models.write_text(models.read_text().replace("nullable=False)", "nullable=False), Column('weight', Integer)"))
    assert "weights" in project.json("migrate.new", "-m", "weights")["path"]
    project.run("migrate")
    assert project.query("SELECT weight FROM parcels LIMIT 1") == [(None,)]
    assert project.json("migrate.check")["clean"] is True
    assert project.json("migrate.push")["database"] == "app_scratch"


def test_seeds_that_cannot_be_imported_are_named(project: Checkout) -> None:
    """A wrong reference in [tool.drydock] is one sentence with the key and what it must be."""
    table = project.root / "pyproject.toml"
    table.write_text(table.read_text().replace("parcels.fill:fill", "parcels.fil:fill").replace("fill.sql", "fil.sql"))
    error = project.run("up", code=None).stderr
    assert "[tool.drydock] seeds names" in error
    assert "fil" in error
