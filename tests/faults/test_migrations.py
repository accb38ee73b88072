from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from drydock import migrate, postgres

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.checkout import Checkout

HALF_WAY = """
def upgrade():
    op.execute("CREATE TABLE half_way ()")
    op.execute("SELECT 1/0")


def downgrade():
    op.execute("DROP TABLE half_way")
"""
FINE = """
def upgrade():
    op.execute("CREATE TABLE fine ()")


def downgrade():
    op.execute("DROP TABLE fine")
"""


@pytest.fixture(scope="module")
def shop(scratch: Checkout) -> Checkout:
    return scratch


@pytest.fixture
def write(shop: Checkout) -> Iterator[object]:
    """Writes a migration file after a given one; files and what they did are taken back after the test."""
    head = shop.json("migrate.history")["revisions"][0]["revision"]
    made: list[Path] = []

    def add(revision: str, body: str, after: str = head) -> Path:
        path = shop.root / "migrations" / "versions" / f"29990101_{revision}.py"
        path.write_text(
            f'"""The {revision} one."""\nfrom alembic import op\nrevision = "{revision}"\n'
            f'down_revision = "{after}"\nbranch_labels = None\ndepends_on = None\n{body}'
        )
        made.append(path)
        return path

    yield add
    shop.run("migrate.down", "--to", head, "--yes", code=None)
    for path in made:
        path.unlink(missing_ok=True)
    assert shop.json("migrate")["after"] == [head]


def test_a_migration_that_fails_half_way_leaves_nothing(shop: Checkout, write: object) -> None:
    """The good one before it is kept, nothing of the failing one is; the sentence says which, why and where we are."""
    write("aaaa", FINE)  # type: ignore[operator]
    path = write("bbbb", HALF_WAY, "aaaa")  # type: ignore[operator]
    error = shop.run("migrate", code=6).stderr
    assert "Migration bbbb (The bbbb one.) failed: division by zero" in error
    assert "the database is at aaaa" in error
    assert "invoke migrate" in error
    assert shop.query("SELECT to_regclass('fine') IS NOT NULL, to_regclass('half_way') IS NULL") == [(True, True)]
    path.write_text(path.read_text().replace("1/0", "1"))
    assert shop.json("migrate")["after"] == ["bbbb"]


FILLED = """
def upgrade():
    op.execute("CREATE TABLE filled AS SELECT 1 AS id, 'kept' AS note")


def downgrade():
    op.execute("DROP TABLE filled")
"""
LOSING = """
def upgrade():
    op.execute("ALTER TABLE filled DROP COLUMN note")


def downgrade():
    op.execute("ALTER TABLE filled ADD COLUMN note text")
"""


def test_a_migration_that_would_lose_data_is_refused(shop: Checkout, write: object) -> None:
    """The sentence says what would go and what to write, nothing of it is kept, and the loss can be accepted once."""
    write("aaaa", FILLED)  # type: ignore[operator]
    write("bbbb", LOSING, "aaaa")  # type: ignore[operator]
    for task in ("migrate", "up"):
        error = shop.run(task, code=3).stderr
        assert "Migration bbbb (The bbbb one.) would lose data: it drops the column filled.note" in error
        assert 'destroys = "' in error
        assert migrate.current(shop.environment) == ["aaaa"]
        assert shop.query("SELECT note FROM filled") == [("kept",)]
    assert shop.json("migrate", "--allow-data-loss")["after"] == ["bbbb"]


def test_a_migration_may_say_what_it_destroys(shop: Checkout, write: object) -> None:
    """Marked, it runs, and the result repeats the mark."""
    write("aaaa", FILLED)  # type: ignore[operator]
    path = write("bbbb", LOSING, "aaaa")  # type: ignore[operator]
    path.write_text(path.read_text() + '\n\ndestroys = "notes, which nobody reads"\n')
    assert [step["destroys"] for step in shop.json("migrate")["steps"]] == ["", "notes, which nobody reads"]


def test_two_heads_are_named_and_can_be_merged(shop: Checkout, write: object) -> None:
    """Two branches: nothing runs, both heads are named with their titles, and the merge it suggests works."""
    before = migrate.current(shop.environment)
    write("cccc", FINE)  # type: ignore[operator]
    write("dddd", "upgrade = downgrade = lambda: None\n")  # type: ignore[operator]
    error = shop.run("up", code=6).stderr
    assert "2 heads: cccc (The cccc one.) and dddd (The dddd one.)" in error
    assert "migrate.new --merge" in error
    assert migrate.current(shop.environment) == before
    assert "2 heads" in shop.run("doctor", code=1).stdout
    path = shop.json("migrate.new", "--merge", "-m", "merge")["path"]
    try:
        assert len(shop.json("migrate")["steps"]) == 3
    finally:
        shop.run("migrate.down", "--to", before[0], "--yes")
        subprocess.run(["rm", path], check=True)


def test_an_unknown_revision_is_told_with_its_story(shop: Checkout, write: object) -> None:
    """After switching away from the branch that made it, the revision is named with title and branch."""
    subprocess.run(["git", "-C", str(shop.root), "init", "--quiet", "--initial-branch", "feature-x"], check=True)
    path = write("eeee", FINE)  # type: ignore[operator]
    shop.run("migrate")
    hidden = path.rename(path.with_suffix(".away"))
    error = shop.run("migrate", code=6).stderr
    assert "revision eeee (“The eeee one.”, from branch feature-x)" in error
    assert "which no file in" in error
    assert shop.json("status", code=5)["status"] == "fail"
    hidden.rename(path)


def test_a_busy_migration_lock_is_waited_for_and_named(shop: Checkout) -> None:
    """Where another session migrates for too long, the sentence says which."""
    environment = shop.environment
    with postgres.connect(environment, environment.owner) as other:
        other.execute("SELECT pg_advisory_lock(%s)", (migrate.LOCK_KEY,))
        error = shop.run("migrate", code=6, LOCK_TIMEOUT="1").stderr
        assert re.search(rf"Another migration is running: server process {other.info.backend_pid} of drydock", error)
    shop.run("migrate", LOCK_TIMEOUT="1")


def test_locks_in_the_way_of_a_comparison_are_a_sentence(shop: Checkout) -> None:
    """While somebody holds a table, doctor and migrate.check say that the models cannot be compared, and why."""
    environment = shop.environment
    with postgres.connect(environment, environment.superuser, autocommit=False) as other:
        other.execute("LOCK TABLE users")
        checks = {check["name"]: check for check in shop.json("doctor", code=1)["checks"]}
        reason = "The models cannot be compared: canceling statement due to lock timeout."
        assert checks["schema:files"]["detail"] == reason
        assert reason in shop.run("migrate.check", code=6).stderr


def test_a_bare_alembic_waits_for_the_same_lock(shop: Checkout) -> None:
    """migrations/env.py takes drydock's lock, so that the two exclude each other."""
    text = (shop.root / "migrations" / "env.py").read_text()
    found = re.search(r"^LOCK_KEY = (\w+)$", text, re.MULTILINE)
    assert found is not None
    assert int(found.group(1), 16) == migrate.LOCK_KEY


def test_a_missing_migrations_folder_is_a_sentence(shop: Checkout) -> None:
    """Without the folder that alembic.ini names, the error names it."""
    folder = shop.root / "migrations"
    away = folder.rename(shop.root / "away")
    error = shop.run("migrate", code=6).stderr
    away.rename(folder)
    assert str(folder) in error
    assert "does not exist" in error


INVOICES = """
from uuid import UUID

from sqlalchemy import Index
from sqlalchemy.orm import Mapped

from app.models.base import Base, TenantMixin, tenant_key


class Invoice(TenantMixin, Base):
    __tablename__ = "invoices"
    __table_args__ = (tenant_key("business_id", "businesses"), Index(None, "business_id"))

    business_id: Mapped[UUID]
    amount: Mapped[int]
"""


def test_a_model_with_tenants_is_isolated_by_its_migration(shop: Checkout) -> None:
    """Who adds a model with TenantMixin and runs migrate.new and migrate has an isolated table, and wrote no policy."""
    module = shop.root / "src" / "app" / "models" / "invoices.py"
    package = module.with_name("__init__.py")
    before, path = package.read_text(), ""
    module.write_text(INVOICES)
    package.write_text(before + "\nfrom app.models.invoices import Invoice\n")
    source = str(shop.root / "src")
    try:
        path = shop.json("migrate.new", "-m", "invoices", PYTHONPATH=source)["path"]
        written = Path(path).read_text()
        assert "op.create_tenant_table('invoices'" in written
        assert "op.drop_table('invoices')" in written
        shop.run("migrate", PYTHONPATH=source)
        assert shop.json("migrate.check", PYTHONPATH=source)["clean"] is True
        guards = "SELECT relrowsecurity, relforcerowsecurity FROM pg_class WHERE relname = 'invoices'"
        assert shop.query(guards) == [(True, True)]
        names = "SELECT array_agg({0}::text ORDER BY {0}::text) FROM pg_{1} WHERE {2}rel{3} = 'invoices'::regclass"
        assert shop.query(names.format("polname", "policy", "pol", "id")) == [(["system_access", "tenant_isolation"],)]
        assert shop.query(names.format("tgname", "trigger", "NOT tgisinternal AND tg", "id")) == [(["set_updated_at"],)]
        shop.run("migrate.down", "--yes", PYTHONPATH=source)
    finally:
        package.write_text(before)
        module.unlink()
        Path(path).unlink(missing_ok=True)


def test_what_the_models_lack_is_written_and_checked(shop: Checkout) -> None:
    """A changed model is seen by check, written by new, and applied; then the two agree again."""
    assert shop.json("migrate.check")["clean"] is True
    model = shop.root / "src" / "app" / "models" / "users.py"
    text = model.read_text()
    model.write_text(re.sub(r"(\n    name: Mapped\[str\][^\n]*)", r"\1\n    nick: Mapped[str | None]", text))
    try:
        differences = shop.json("migrate.check", code=6, PYTHONPATH=str(shop.root / "src"))["differences"]
        assert "add_column users nick" in " ".join(differences)
        path = shop.json("migrate.new", "-m", "nick names", PYTHONPATH=str(shop.root / "src"))["path"]
        shop.run("migrate", PYTHONPATH=str(shop.root / "src"))
        assert shop.json("migrate.check", PYTHONPATH=str(shop.root / "src"))["clean"] is True
        shop.run("migrate.down", "--yes", PYTHONPATH=str(shop.root / "src"))
        subprocess.run(["rm", path], check=True)
    finally:
        model.write_text(text)
