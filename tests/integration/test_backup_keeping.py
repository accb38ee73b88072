"""backup.prune, backup.pin and backup.unpin as people type them; they need no servers."""

from __future__ import annotations

import shlex
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from drydock.backup.catalogue import PIN, PROOF, Catalogue
from drydock.errors import SettingsError
from tests.backups import NOW, make_backup, make_many
from tests.checkout import Checkout

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def shop(tmp_path: Path) -> Checkout:
    """A checkout that was never up."""
    return Checkout(tmp_path / 'the team\'s "shop"', TZ="UTC")


def dumps(shop: Checkout) -> Path:
    return shop.root / "backups" / "dumps"


def test_a_dry_run_tells_what_a_real_one_does(shop: Checkout) -> None:
    """--dry-run names the same backups as the run after it, and removes none; a second run finds nothing to do."""
    made = make_many(dumps(shop), 40)
    (dumps(shop) / made[3].name / "manifest.json").write_text("")
    planned = shop.run("backup.prune", "--dry-run").stdout
    assert "would free" in planned
    assert len(list(dumps(shop).iterdir())) == 40
    done = shop.json("backup.prune")
    assert len(done["kept"]) + len(done["removed"]) + len(done["broken"]) == 40
    assert list(done["broken"]) == [made[3].name]
    assert all(f"would go  {name}" in planned for name in done["removed"])
    assert done["freed_bytes"] == 4096 * len(done["removed"]) > 0
    assert {path.name for path in dumps(shop).iterdir()} == {*done["kept"], *done["broken"]}
    again = shop.run("backup.prune").stdout
    assert "nothing to remove" in again
    (line,) = [line for line in again.splitlines() if "rm -r" in line]
    assert shlex.split(line)[-1] == str(dumps(shop) / made[3].name)


def test_a_proof_or_a_pin_that_cannot_be_read_takes_nothing_down(shop: Checkout) -> None:
    """The list has every backup and names the file; pruning says what each of them counts as."""
    first, second, third = make_many(dumps(shop), 3, pinned="")
    (first.path / PIN).write_text("{")
    (second.path / PROOF).write_text("{")
    listed = {item["name"]: item for item in shop.json("backup.list")["backups"]}
    assert [listed[entry.name]["unreadable"] for entry in (first, second, third)] == [[PIN], [PROOF], []]
    assert [bool(listed[entry.name]["proven"]) for entry in (first, second, third)] == [True, False, True]
    assert "unproven, pinned, its proof.json cannot be read" in shop.run("backup.list").stdout
    told = shop.run("backup.prune").stdout
    assert f"{first.name} counts as pinned: its pin.json cannot be read" in told
    assert f"{second.name} counts as unproven: its proof.json cannot be read" in told
    assert "unusable" not in told


def test_numbers_come_from_the_flags_or_the_settings(shop: Checkout) -> None:
    """A flag wins over BACKUP_KEEP_…, which wins over the default; days are those of the host's zone."""
    make_many(dumps(shop), 12, every=timedelta(hours=12))
    only_last = ("--daily", "0", "--weekly", "0", "--monthly", "0", "--dry-run")
    assert len(shop.json("backup.prune", *only_last)["kept"]) == 7
    assert len(shop.json("backup.prune", *only_last, BACKUP_KEEP_LAST="3")["kept"]) == 3
    assert len(shop.json("backup.prune", *only_last, "--keep-last", "2", BACKUP_KEEP_LAST="3")["kept"]) == 2
    days = ("--keep-last", "0", "--daily", "3", "--weekly", "0", "--monthly", "0", "--dry-run")
    here = shop.json("backup.prune", *days)["kept"]
    there = shop.json("backup.prune", *days, TZ="Etc/GMT-13")["kept"]
    assert list(here) == ["20261121T120000Z", "20261120T120000Z", "20261119T120000Z"]
    assert list(there) == ["20261121T120000Z", "20261121T000000Z", "20261120T000000Z"]


@pytest.mark.parametrize("words", [["--daily", "-1"], ["--keep-last", "many"], ["--monthly", "1.5"], ["--weekly=1e9"]])
def test_bad_numbers_are_one_sentence(shop: Checkout, words: list[str]) -> None:
    """What is no count is named with what it may be, and nothing is removed."""
    make_many(dumps(shop), 9)
    result = shop.run("backup.prune", *words, code=2)
    assert "is not a whole number from 0 to 10000" in result.stderr
    assert len(list(dumps(shop).iterdir())) == 9


def test_production_prunes_nothing(shop: Checkout) -> None:
    """With APP_ENV=production backups are only shown."""
    make_many(dumps(shop), 9)
    words = ("backup.prune", "--keep-last", "1", "--daily", "0")
    assert "APP_ENV is production" in shop.run(*words, APP_ENV="production", code=3).stderr
    assert len(shop.json(*words, "--dry-run", APP_ENV="production")["removed"]) > 0
    assert len(list(dumps(shop).iterdir())) == 9


def test_a_pinned_backup_stays_until_it_is_unpinned(shop: Checkout) -> None:
    """backup.pin keeps an old one, tells its reason when pruning, and backup.unpin lets it go."""
    old = make_backup(dumps(shop), NOW - timedelta(days=900), sequence=1, label="before-the-move")
    make_many(dumps(shop), 3)
    rules = ("backup.prune", "--keep-last", "1", "--daily", "1", "--weekly", "1", "--monthly", "0")
    shop.run("backup.pin", "before-the-move", "--reason", "two years of orders")
    assert "pinned: two years of orders" in shop.run(*rules).stdout
    assert old.path.exists()
    assert "no longer pinned" in shop.run("backup.unpin", old.name[:9]).stdout
    assert "was not pinned" in shop.run("backup.unpin", "before-the-move").stdout
    shop.run(*rules)
    assert not old.path.exists()


@pytest.mark.parametrize("task", ["backup.pin", "backup.unpin"])
def test_names_that_fit_none_or_several(shop: Checkout, task: str) -> None:
    """An unknown name says which is near, an ambiguous beginning names those it fits, and nothing is pinned."""
    make_many(dumps(shop), 2, label="nightly")
    assert "Did you mean nightly?" in shop.run(task, "nightl", code=1).stderr
    assert "fits 2 backups" in shop.run(task, "20261121", code=1).stderr
    assert not list(dumps(shop).glob(f"*/{PIN}"))


@pytest.mark.parametrize("task", ["backup.pin", "backup.unpin", "backup.push"])
def test_an_empty_name_is_no_backup(shop: Checkout, task: str) -> None:
    """A shell's variable that is not set stands for none, and not for the one without a label."""
    make_many(dumps(shop), 1)
    told = shop.run(task, "", code=2, BACKUP_REPOSITORY=str(shop.root / "repository")).stderr
    assert "The name of the backup is empty" in told
    assert not list(dumps(shop).glob(f"*/{PIN}"))


@pytest.mark.parametrize("task", ["backup.verify", "backup.push"])
@pytest.mark.parametrize("name", ["nightly", "latest"])
def test_all_and_a_name_exclude_each_other(shop: Checkout, task: str, name: str) -> None:
    """One of the two was not meant, and which one is not guessed."""
    make_many(dumps(shop), 1, label="nightly")
    told = shop.run(task, name, "--all", code=2, BACKUP_REPOSITORY=str(shop.root / "repository")).stderr
    assert f"--all and the name {name!r} cannot be had together" in told


def test_latest_is_no_label(tmp_path: Path) -> None:
    """A backup that is called so could never be found by it."""
    with pytest.raises(SettingsError, match="'latest' cannot be a label"), Catalogue(tmp_path).writing("latest", NOW):
        pass


def test_a_first_start_from_an_empty_name_seeds_nothing(shop: Checkout) -> None:
    """A shell's variable that is not set is told from a flag that was not given."""
    assert "--from-backup is empty" in shop.run("up", "--from-backup", "", code=2).stderr
    assert not (shop.root / ".drydock").exists()
