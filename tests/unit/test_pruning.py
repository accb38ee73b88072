from __future__ import annotations

from datetime import UTC, timedelta
from typing import TYPE_CHECKING

import pytest

from drydock.backup import pruning
from drydock.backup.catalogue import PIN, PROOF, Catalogue, unpin
from drydock.backup.manifest import FILE
from drydock.backup.retention import Policy
from tests.backups import NOW, make_backup, make_many, prove

if TYPE_CHECKING:
    from pathlib import Path

NONE = Policy(last=0, daily=0, weekly=0, monthly=0)
ONE = Policy(last=1, daily=0, weekly=0, monthly=0)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_goes_is_gone_and_its_size_is_told(tmp_path: Path) -> None:
    """The folders of what no rule keeps are removed, and what that frees is the sum of their sizes."""
    made = make_many(tmp_path, 5)
    result = pruning.prune(Catalogue(tmp_path), ONE)
    assert names(tmp_path) == [made[-1].name]
    assert [entry.name for entry in result.removed] == [entry.name for entry in reversed(made[:-1])]
    assert result.freed == 4 * 4096
    assert pruning.prune(Catalogue(tmp_path), ONE).removed == []


def test_planning_removes_nothing(tmp_path: Path) -> None:
    """What a plan would remove is still there."""
    made = make_many(tmp_path, 5)
    assert len(pruning.plan(Catalogue(tmp_path).entries(), ONE, UTC).removed) == 4
    assert names(tmp_path) == [entry.name for entry in made]


def test_the_last_proven_backup_outlives_every_policy(tmp_path: Path) -> None:
    """With every rule off, the newest proven backup and the pinned ones stay; the unproven newer ones go."""
    proven = make_backup(tmp_path, NOW - timedelta(days=9), sequence=2)
    pinned = make_backup(tmp_path, NOW - timedelta(days=10), sequence=1, proven=False, pinned="")
    for days in range(3):
        make_backup(tmp_path, NOW - timedelta(days=days), sequence=9 - days, proven=False)
    result = pruning.prune(Catalogue(tmp_path), NONE)
    assert names(tmp_path) == [pinned.name, proven.name]
    assert [(entry.name, why) for entry, why in result.kept] == [
        (proven.name, ["the newest proven one"]),
        (pinned.name, ["pinned"]),
    ]


def test_a_proof_of_other_content_proves_nothing(tmp_path: Path) -> None:
    """A backup whose proof belongs to another manifest is unproven, and pushes no proven one out."""
    good, other = make_backup(tmp_path, NOW - timedelta(hours=1), sequence=1), make_backup(tmp_path, NOW, sequence=2)
    (other.path / PROOF).write_text((good.path / PROOF).read_text())
    pruning.prune(Catalogue(tmp_path), NONE)
    assert names(tmp_path) == [good.name]


@pytest.mark.parametrize("text", ["{", '{"format": 99}'])
def test_what_cannot_be_read_is_reported_and_stays(tmp_path: Path, text: str) -> None:
    """A damaged manifest, a newer format: pruning says so and leaves the folder alone."""
    broken = make_backup(tmp_path, NOW - timedelta(days=400), sequence=1)
    (broken.path / FILE).write_text(text)
    newest = make_backup(tmp_path, NOW, sequence=2)
    result = pruning.prune(Catalogue(tmp_path), ONE)
    assert [entry.name for entry, _ in result.broken] == [broken.name]
    assert result.broken[0][1]
    assert names(tmp_path) == [broken.name, newest.name]


# Cut short by three bytes, as after a power cut, and what is JSON but no such file.
UNREADABLE = [None, "", "[]", "7", "\udcff"]


def harm(path: Path, text: str | None) -> None:
    """Put `text` into a file; None: cut it short."""
    path.write_bytes(path.read_bytes()[:-3] if text is None else text.encode(errors="surrogateescape"))


@pytest.mark.parametrize("text", [*UNREADABLE, "{}"])
def test_a_backup_whose_proof_cannot_be_read_is_unproven(tmp_path: Path, text: str | None) -> None:
    """It says so, pushes no proven one out, and goes like any other; proven again, it is as before."""
    good, lost = make_backup(tmp_path, NOW - timedelta(hours=1), sequence=1), make_backup(tmp_path, NOW, sequence=2)
    harm(lost.path / PROOF, text)
    found = Catalogue(tmp_path).find("latest")
    assert (found.name, found.proof, found.unreadable) == (lost.name, None, [PROOF])
    prove(found)
    again = Catalogue(tmp_path).find("latest")
    assert again.proof
    assert again.unreadable == []
    harm(lost.path / PROOF, text)
    assert pruning.prune(Catalogue(tmp_path), NONE).broken == []
    assert names(tmp_path) == [good.name]


@pytest.mark.parametrize("text", UNREADABLE)
def test_a_backup_whose_pin_cannot_be_read_is_pinned(tmp_path: Path, text: str | None) -> None:
    """Nobody knows why any more, and it stays until it is unpinned."""
    old = make_backup(tmp_path, NOW - timedelta(days=400), sequence=1, pinned="before the move")
    make_backup(tmp_path, NOW, sequence=2)
    harm(old.path / PIN, text)
    result = pruning.prune(Catalogue(tmp_path), ONE)
    assert [why for entry, why in result.kept if entry.name == old.name] == [["pinned"]]
    assert [entry.unreadable for entry, _ in result.kept if entry.name == old.name] == [[PIN]]
    assert unpin(old)
    assert pruning.prune(Catalogue(tmp_path), ONE).removed


def test_a_schema_only_backup_is_not_the_last_good_one(tmp_path: Path) -> None:
    """Newer partial backups, proven or not, leave the last whole one in place."""
    whole = make_backup(tmp_path, NOW - timedelta(days=3), sequence=1)
    make_backup(tmp_path, NOW - timedelta(days=2), sequence=2, schema_only=True)
    newest = make_backup(tmp_path, NOW, sequence=3, tables_only=["public.users"])
    pruning.prune(Catalogue(tmp_path), ONE)
    assert names(tmp_path) == [whole.name, newest.name]


def test_a_catalogue_that_is_not_there_yet(tmp_path: Path) -> None:
    """Without any backup there is nothing to prune, and no folder is made."""
    assert pruning.prune(Catalogue(tmp_path / "dumps"), ONE) == pruning.Pruning()
    assert not (tmp_path / "dumps").exists()
