"""undo and redo through every kind of change and several levels, marks, and kept volumes, on both engines."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from drydock.recovery.archive import marks
from drydock.recovery.archive.catalogue import Catalogue
from drydock.recovery.archive.folders import Form
from drydock.recovery.upkeep import attendant, retention
from drydock.recovery.wal.positions import parse_lsn
from drydock.recovery.way_back import changes, marking
from drydock.recovery.way_back.journal import Kind
from tests.checkout import Checkout
from tests.signs import levels, sign, signs, take_base

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

COUNT = "SELECT count(*) FROM messages"
REVISION = "SELECT version_num FROM alembic_version"
ALL = 1194  # messages of the small seeds


@pytest.fixture(scope="module")
def shop(engine_name: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    """A checkout with its archive on and a base backup to go back from."""
    made = Checkout(tmp_path_factory.mktemp(f"undo-{engine_name}") / "shop", ENGINE=engine_name, WAL_ARCHIVE="on")
    made.run("up")
    take_base(made)
    yield made
    made.remove()


def state(shop: Checkout) -> tuple[list[str], int, str]:
    """What the data is known by: the signs in it, its messages, and its revision."""
    return signs(shop), shop.query(COUNT)[0][0], shop.query(REVISION)[0][0]


def change(shop: Checkout, *words: str) -> tuple[list[str], int, str]:
    """Leave a sign, so that no two states are alike, and run a task; returns the state that the task changed."""
    sign(shop, f"{shop.query('SELECT count(*) FROM organizations')[0][0]}")
    before = state(shop)
    assert "undo: invoke undo" in shop.run(*words).stdout
    assert state(shop) != before
    return before


def test_every_change_is_taken_back_and_done_again(shop: Checkout) -> None:
    """reset, seed, restore of a dump and migrate.down, with rows written in between: back and forth.

    On the way back the cluster has three lives; each state is there to the row in whichever it is reached.
    """
    backup = str(shop.json("backup")["name"])
    states = [change(shop, "reset")]
    shop.query("DELETE FROM messages WHERE role = 'user'")
    states.append(change(shop, "seed"))
    states.append(change(shop, "restore", backup, "--yes"))
    states.append(change(shop, "migrate.down", "--yes"))
    sign(shop, "last")
    states.append(state(shop))
    assert levels(shop) == (4, 0)
    ways = []
    for expected in reversed(states[:-1]):
        ways.append(shop.json("undo")["way"])
        assert state(shop) == expected
    assert ways == ["mark", "databases", "mark", "databases"]
    assert shop.environment.state.incarnation == 3
    assert levels(shop) == (0, 4)
    assert "nothing to undo" in shop.run("undo", code=3).stderr
    for expected in states[1:]:
        shop.run("redo")
        assert state(shop) == expected
    assert levels(shop) == (4, 0)
    failing = {c["name"] for c in shop.json("status", code=5)["checks"] if c["status"] == "fail"}
    assert failing == {"schema:head"}  # migrate.down is the last that was done again


def test_kept_clusters_go_where_there_is_no_room(shop: Checkout) -> None:
    """Here the newest undo needs none of them; redo then goes by the mark instead."""
    shop.run("reset")
    change(shop, "migrate.down", "--yes")
    shop.run("undo")
    kept = {v["incarnation"] for v in shop.json("prune", "--dry-run")["volumes"]}
    assert shop.environment.state.incarnation not in kept
    assert kept
    told = shop.json("prune", RECOVERY_DISK="1k")
    stays = {v["incarnation"] for v in told["volumes"] if v["stays"]}
    assert {v["incarnation"] for v in told["volumes"]} == kept
    assert shop.json("prune", "--dry-run")["volumes"] == [v for v in told["volumes"] if v["stays"]]
    assert stays == set()
    assert shop.json("redo", "--plan")["way"] == "mark"


def test_a_change_after_an_undo_leaves_nothing_to_do_again(shop: Checkout) -> None:
    """And its own marks go: those of the levels that are left stay."""

    def automatic() -> set[str]:
        found = marks.every(marking.archive_of(shop.environment))
        return {mark.name for mark in found if mark.kind is marks.Kind.AUTOMATIC}

    shop.run("reset")
    before, (undo, redo) = automatic(), levels(shop)
    assert redo == 0
    shop.run("reset")
    shop.run("undo")
    shop.run("reset")
    assert levels(shop) == (undo + 1, 0)
    assert "nothing to do again" in shop.run("redo", code=3).stderr
    assert automatic() > before
    assert len(automatic()) == len(before) + 1


def test_what_changes_nothing_is_no_level(shop: Checkout) -> None:
    """A second seed and a migration that has nothing to do leave neither a level nor a mark, and promise no undo."""
    shop.run("reset")
    before = levels(shop), marks.every(marking.archive_of(shop.environment))
    for task in ("seed", "migrate"):
        assert "undo" not in shop.run(task).stdout
    assert (levels(shop), marks.every(marking.archive_of(shop.environment))) == before


def test_a_failing_change_in_place_is_no_level(shop: Checkout) -> None:
    """Nothing of a failed seed is kept, so there is nothing to undo; the levels before it are as they were."""
    before = levels(shop)
    path = shop.root / "src" / "app" / "seeds" / "words.py"
    text = path.read_text()
    path.write_text(text + "raise RuntimeError('spilt seeds')\n")
    shop.run("seed", code=7)
    path.write_text(text)
    assert levels(shop) == before


def test_a_change_that_failed_is_no_level_once_nobody_can_be_asked(shop: Checkout) -> None:
    """What an exchange of databases came to is found out while the server answers, not guessed after `down`."""
    shop.run("reset")
    shop.run("undo")
    before = shop.json("undo.list")
    environment = shop.environment
    with (
        pytest.raises(KeyboardInterrupt),
        changes.recorded(environment, "reset", Kind.DATABASES, report=lambda _: None),
    ):
        raise KeyboardInterrupt
    shop.run("down")
    assert shop.json("undo.list") == before
    shop.run("up")
    assert shop.json("undo.list") == before


def test_the_exchange_of_databases_is_a_step_of_undo(shop: Checkout) -> None:
    """reset.undo is an undo, and once more it is a redo."""
    shop.run("reset")
    undo, _ = levels(shop)
    shop.run("reset.undo")
    assert levels(shop) == (undo - 1, 1)
    shop.run("restore.undo")
    assert levels(shop) == (undo, 0)


def test_a_mark_is_proven_before_it_is_written(shop: Checkout) -> None:
    """The segment that the restore point is in is finished, packed and in the catalogue; nothing is behind it."""
    made = shop.json("mark", "friday")
    archive = marking.archive_of(shop.environment)
    found = marks.find(archive, "friday")
    assert (found.lsn, found.segment) == (made["lsn"], made["segment"])
    assert parse_lsn(found.lsn) < parse_lsn(found.flushed)
    stored = [s for s in archive.segments(found.part) if s.segment.name == found.segment]
    assert [s.form for s in stored] == [Form.SEALED]
    packed = Catalogue(archive).find(found.part, stored[0].segment)
    assert packed
    assert packed.size == stored[0].path.stat().st_size
    # As the person's clock has it, with its offset.
    listed = shop.run("mark.list", TZ="Asia/Kolkata").stdout
    assert re.search(r"^friday +\d{4}-\d\d-\d\d [\d:]{8}\+05:30 ", listed, re.MULTILINE)


def test_a_taken_name_is_refused_until_it_is_to_be_moved(shop: Checkout) -> None:
    """Without a terminal it is not asked; --replace moves the mark here."""
    first = shop.json("mark", "taken")
    assert "There is a mark taken already" in shop.run("mark", "taken", code=3).stderr
    assert "There is a mark taken already" in shop.run("mark", "Taken", "--replace", code=3).stderr
    second = shop.json("mark", "taken", "--replace")
    assert parse_lsn(second["lsn"]) > parse_lsn(first["lsn"])


@pytest.mark.parametrize("name", ["auto-reset", "a b", "../a", "ä"])
def test_a_name_that_cannot_be_is_refused(shop: Checkout, name: str) -> None:
    """Before anything is written to the WAL."""
    assert "mark" in shop.run("mark", name, code=2).stderr


def test_a_mark_without_a_name_is_called_by_the_time(shop: Checkout) -> None:
    """As a backup is."""
    assert shop.json("mark")["name"].endswith("Z")


def test_the_journal_is_made_anew_from_the_marks(shop: Checkout) -> None:
    """Where .drydock has lost it, each mark that a task left is a level of undo."""
    shop.run("reset")
    undo, _ = levels(shop)
    (shop.root / ".drydock" / "journal.json").unlink()
    listed = shop.json("undo.list")["undo"]
    assert len(listed) == undo
    assert listed[0]["task"] == "reset"


def test_without_its_archiver_a_task_says_so_and_goes_on(shop: Checkout) -> None:
    """One line; reset is undone by exchanging databases; a mark is refused; `up` brings the archiver back."""
    shop.environment.engine.stop_archiver()
    sign(shop, "unarchived")
    told = shop.run("reset")
    assert "no way back by time from here: the archiver does not run" in told.stderr
    assert "undo: invoke undo" in told.stdout
    assert "the archiver does not run" in shop.run("mark", "never", code=5).stderr
    assert shop.json("undo")["way"] == "databases"
    assert "unarchived" in signs(shop)
    down = shop.run("migrate.down", "--yes")
    assert "no way back by time" in down.stderr
    assert "undo:" not in down.stdout
    refused = shop.run("undo", code=3).stderr
    assert "migrate.down" in refused
    assert "the archiver does not run" in refused
    shop.run("migrate")
    shop.run("up")
    shop.run("reset")
    assert shop.json("undo.list")["undo"][0]["mark"]


def test_what_has_expired_is_not_promised(shop: Checkout) -> None:
    """Retention has removed what led to the older marks: lists say so, no count has them, and the plan is refused."""
    shop.run("mark", "expiring")
    for name in ("deep", "deeper"):
        sign(shop, name)
        shop.run("reset")
    shop.run("backup.base")
    shop.run("mark", "staying")
    environment = shop.environment
    settings = replace(environment.settings, recovery_window=0.0, recovery_disk=0)
    with attendant.alone(settings.folder):
        archive = marking.archive_of(environment)
        retention.expire(settings, archive, writing=environment.state.part, now=datetime.now(UTC))
    found = {mark["name"]: mark["expired"] for mark in shop.json("mark.list")["marks"]}
    assert (found["expiring"], found["staying"]) == (True, False)
    assert "expired" in shop.run("mark.list").stdout
    first, *others = shop.json("undo.list")["undo"]
    assert not first["expired"]  # its database is kept
    assert others[0]["expired"]  # what is below may be kept, or have a base backup in a later life
    assert shop.json("undo")["levels"]["undo"] == sum(1 for entry in others if not entry["expired"])
    assert "cannot be reached any more" in shop.run("undo.list").stdout
    for words in (("undo", "--plan"), ("undo",)):
        refused = shop.run(*words, code=3).stderr
        assert "cannot be undone: the WAL " in refused
        assert "What can be restored: " in refused
        assert "→ invoke mark.list" in refused


def test_without_an_archive_there_is_one_level(any_engine: str, make_checkout: Callable[..., Checkout]) -> None:
    """WAL_ARCHIVE=off: the task says so, the newest reset can be undone, and the one before says what is gone."""
    shop = make_checkout(ENGINE=any_engine, WAL_ARCHIVE="off")
    shop.run("up")
    sign(shop, "first")
    assert "no way back by time from here: WAL_ARCHIVE is off" in shop.run("reset").stderr
    sign(shop, "second")
    shop.run("reset")
    shop.run("undo")
    assert signs(shop) == ["second"]
    refused = shop.run("undo", code=3).stderr
    assert "the database it kept was replaced by a later one, and WAL_ARCHIVE is off" in refused
    shop.run("redo")
    assert signs(shop) == []
