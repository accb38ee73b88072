"""Going back beside: the server stops at the very record it was told to, and is believed only where that is proven."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, BinaryIO

import pytest

from drydock.errors import DrydockError
from drydock.recovery.restores import rewind
from tests import ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from drydock.engine import Beside
    from tests.checkout import Checkout

COMMITS = 7


@pytest.fixture(scope="module")
def book(ready: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ledger.Ledger]:
    """Seven commits of the shared checkout."""
    yield ledger.write(ready.environment, tmp_path_factory.mktemp("ledger") / "book", COMMITS)
    ready.query("DROP TABLE ledger")


@pytest.fixture
def beside(ready: Checkout) -> Iterator[Beside]:
    """The engine's other volumes, of which none is left after a test."""
    found = ready.environment.engine.beside
    yield found
    found.remove(found.volume("branch-test"))


def test_it_stops_at_the_record(ready: Checkout, book: ledger.Ledger, beside: Beside) -> None:
    """The first, a middle and the last commit, with and without it: the rows are exactly those of that moment."""
    for commit, inclusive in ((1, False), (4, True), (4, False), (COMMITS, True)):
        volume = beside.volume("branch-test")
        recipe = book.recipe(commit, inclusive=inclusive)
        paused = rewind.rewind(beside, volume, recipe, lambda _line: None)
        assert paused.system_identifier == ready.environment.state.system_identifier
        rows = beside.ask(volume, "SELECT number FROM ledger ORDER BY 1", "app").split()
        assert rows == [str(n) for n in range(1, commit + 1 if inclusive else commit)]
        beside.remove(volume)


def test_the_folder_of_the_wal_is_there_before_two_write_to_it(
    book: ledger.Ledger, beside: Beside, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The base backup and the WAL are extracted at once; neither may have to make what the other makes as well."""
    volume, write, said = beside.volume("branch-test"), beside.write, []

    def noted(volume: str, content: BinaryIO) -> None:
        said.append("begun")
        write(volume, content)
        said.append("done")

    monkeypatch.setattr(beside, "write", noted)
    recipe = book.recipe(3, inclusive=True)
    assert recipe.wal
    beside.create(volume)
    rewind.fill(beside, volume, recipe)
    assert said[:2] == ["begun", "done"]
    assert said.count("done") == 4


def test_settings_of_the_base_backup_that_would_lead_elsewhere_are_overruled(
    book: ledger.Ledger, beside: Beside
) -> None:
    """An ALTER SYSTEM in the base backup with another target, an archive and a restore command has no effect."""
    volume = beside.volume("branch-test")
    recipe = book.recipe(3, inclusive=True)
    beside.create(volume)
    rewind.fill(beside, volume, recipe)
    lines = (
        b"recovery_target_name = 'elsewhere'\nrecovery_target_timeline = 'latest'\nrestore_command = 'true'\n"
        b"archive_mode = 'on'\narchive_command = 'false'\nhot_standby = 'off'\nlc_messages = 'C'\n"
    )
    with ledger.archive({"postgresql.auto.conf": lines}) as stream:
        beside.write(volume, stream)
    rewind.recover(beside, volume, recipe, lambda _line: None)
    assert beside.ask(volume, "SELECT max(number) FROM ledger", "app").strip() == "3"


def test_a_standby_is_given_what_the_wal_asks_for(book: ledger.Ledger, beside: Beside) -> None:
    """Told of fewer connections than the base backup's server had, it is started again with as many, and says so."""
    volume = beside.volume("branch-test")
    recipe = book.recipe(2, inclusive=True)
    told: list[str] = []
    rewind.rewind(beside, volume, replace(recipe, settings={"max_connections": "20"}), told.append)
    assert beside.ask(volume, "SHOW max_connections").strip() == book.settings["max_connections"]
    assert "max_connections" in told[0]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda _recipe: {"wal": (), "last": ()}, "did not get to the stop"),
        (lambda recipe: {"stop": ledger.Stop(1, recipe.stop.lsn + 8, inclusive=True)}, "stopped"),
        (lambda recipe: {"stop": ledger.Stop(1, recipe.stop.lsn + (64 << 20), inclusive=True)}, "did not get"),
        (lambda recipe: {"stop": ledger.Stop(2, recipe.stop.lsn, inclusive=True)}, "did not get to the stop"),
    ],
    ids=["no WAL", "no record starts there", "beyond the WAL", "unknown timeline"],
)
def test_a_stop_that_cannot_be_proven_is_an_error(
    book: ledger.Ledger, beside: Beside, spoil: Callable[[rewind.Recipe], dict[str, Any]], words: str
) -> None:
    """A missing segment, a position inside a record, one beyond the WAL, a timeline nobody knows: no data is shown."""
    recipe = book.recipe(4, inclusive=True)
    changed = replace(recipe, **spoil(recipe))
    with pytest.raises(DrydockError, match=words):
        rewind.rewind(beside, beside.volume("branch-test"), changed, lambda _line: None)
