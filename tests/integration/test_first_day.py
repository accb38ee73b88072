"""`up --from-backup`: a new developer starts from the team's data, on either engine."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from drydock.fault_points import Point
from drydock.state import StateFile
from tests.backups import make_backup
from tests.checkout import Checkout
from tests.s3 import serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MARK = "SELECT name FROM organizations WHERE slug = 'acme'"
DATABASES = "SELECT datname FROM pg_database WHERE NOT datistemplate AND starts_with(datname, 'app') ORDER BY datname"


@pytest.fixture(scope="module")
def team(engine_name: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    """A checkout whose encrypted backup, with a row that no seed makes, is in a repository on an S3 server."""
    folder = tmp_path_factory.mktemp(f"team-{engine_name}")
    with serving("localbucket", folder / "s3") as store:
        checkout = Checkout(folder / "team", ENGINE=engine_name, BACKUP_REPOSITORY=store.address, **store.variables)
        key = checkout.json("backup.keygen", "--path", str(folder / "key.age"))
        checkout.environ |= {"BACKUP_RECIPIENTS": key["recipient"], "BACKUP_IDENTITY": key["identity"]}
        try:
            checkout.run("up")
            checkout.query("UPDATE organizations SET name = 'The Team' WHERE slug = 'acme'")
            # As in a database that was never seeded: neither are those restored from it.
            checkout.query("DELETE FROM drydock.facts WHERE name = 'seeded'")
            checkout.run("backup", "--label", "monday")
            checkout.run("backup.push")
            yield checkout
        finally:
            checkout.remove()


@pytest.fixture
def newcomer(team: Checkout, tmp_path: Path) -> Iterator[Checkout]:
    """A checkout that was never up, with the team's repository and key."""
    checkout = Checkout(tmp_path / "newcomer")
    checkout.environ = dict(team.environ)
    yield checkout
    checkout.remove()


def test_a_first_day_begins_with_the_team_s_data(team: Checkout, newcomer: Checkout) -> None:
    """The team's rows and no seeds; nothing is kept as a way back to nothing; what comes later is refused."""
    first = newcomer.json("up", "--from-backup", "monday")
    assert first["restored"].endswith("-monday")
    assert (first["seeded"], set(first["checks"].values())) == ({}, {"pass"})
    assert newcomer.query(MARK) == [("The Team",)]
    assert newcomer.query("SELECT count(*) FROM messages") == team.query("SELECT count(*) FROM messages")
    assert newcomer.query(DATABASES) == [("app",)]
    assert newcomer.json("backup.list")["backups"][0]["proven"]
    assert newcomer.json("up")["changed"] is False
    assert "invoke restore latest" in newcomer.run("up", "--from-backup", "latest", code=3).stderr
    newcomer.run("down")
    assert "invoke restore " in newcomer.run("up", "--from-backup", "latest", code=3).stderr
    assert newcomer.json("up")["seeded"] == {}
    assert newcomer.query(MARK) == [("The Team",)]


def test_a_first_day_killed_anywhere_can_be_begun_again(newcomer: Checkout) -> None:
    """Killed while fetching, loading and before the swap: each time the same command goes on, and ends well."""
    for point in (Point.PULL_PIECE_WRITTEN, Point.RESTORE_LOADED, Point.RESTORE_CHECKED):
        newcomer.run("up", "--from-backup", "latest", code=-signal.SIGKILL, DRYDOCK_KILL_AT=point)
    assert newcomer.json("up", "--from-backup", "latest")["restored"]
    assert newcomer.query(MARK) == [("The Team",)]
    assert newcomer.query(DATABASES) == [("app",)]


@pytest.mark.parametrize(
    ("wanted", "variables", "said"),
    [
        ("tuesday", {}, "There is no backup called 'tuesday'"),
        ("monday", {"BACKUP_IDENTITY": ""}, "no identity is set"),
        ("monday", {"BACKUP_REPOSITORY": ""}, "There is no backup in"),
    ],
)
def test_what_cannot_be_begun_starts_nothing(
    newcomer: Checkout, wanted: str, variables: dict[str, str], said: str
) -> None:
    """No such backup, no key, no repository: one sentence, before any server is started."""
    newcomer.environ |= variables
    assert said in newcomer.run("up", "--from-backup", wanted, code=1).stderr
    state = StateFile(newcomer.root / ".drydock").read()
    assert state
    assert state.engine == ""


def test_nobody_begins_with_a_part_unasked(newcomer: Checkout) -> None:
    """Where only a backup of the schema is here, the latest is the repository's; without one, what is here is named."""
    part = make_backup(newcomer.root / "backups" / "dumps", schema_only=True).name
    begin = ("up", "--from-backup", "latest")
    told = newcomer.run(*begin, code=1, BACKUP_REPOSITORY="").stderr
    assert "There is no whole backup" in told
    assert f"invoke up --from-backup {part}" in told
    assert "The backup is encrypted" in newcomer.run(*begin, code=1, BACKUP_IDENTITY="").stderr


def test_production_is_refused(newcomer: Checkout) -> None:
    """APP_ENV=production gets no data of somebody else's."""
    newcomer.environ["APP_ENV"] = "production"
    assert "production" in newcomer.run("up", "--from-backup", "latest", code=3).stderr
