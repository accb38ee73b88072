"""Checking a backup's files before anything is done with one, and what becomes of its proof."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from drydock.backup import load, pruning
from drydock.backup.catalogue import PROOF, Catalogue, at
from drydock.backup.encryption import OPEN, Sealing
from drydock.backup.retention import Policy
from drydock.errors import DamagedError, DrydockError
from tests.backups import make_packed, prove

if TYPE_CHECKING:
    from collections.abc import Callable

FILE = "dump/1.dat.zst"
CONTENT = {FILE: b"rows" * 99, "contents.json.zst": b"{}"}


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize("harm", [cut, Path.unlink, lambda path: path.write_bytes(bytes(path.stat().st_size))])
def test_a_damaged_backup_is_no_longer_proven(tmp_path: Path, harm: Callable[[Path], object]) -> None:
    """Cut short, gone or altered: it says so, and the last one that is proven is another one when old ones go."""
    folder = Catalogue(tmp_path)
    good, other = (make_packed(folder, label, content=CONTENT) for label in ("good", "other"))
    prove(good)
    prove(other)
    harm(other.path / FILE)
    with pytest.raises(DamagedError, match=rf"1\.dat\.zst is damaged: .*\. {other.name} is no longer proven\.$"):
        load.check_files(other, OPEN)
    assert at(other.path).proof is None
    with pytest.raises(DamagedError, match=r"1\.dat\.zst is damaged: [^.]*\.$"):
        load.check_files(other, OPEN)
    kept = pruning.prune(folder, Policy(last=0, daily=0, weekly=0, monthly=0)).kept
    assert [entry.name for entry, _ in kept] == [good.name]


def test_a_missing_key_costs_no_proof(tmp_path: Path) -> None:
    """That it cannot be read here says nothing about the backup."""
    pyrage = pytest.importorskip("pyrage")
    sealing = Sealing((str(pyrage.x25519.Identity.generate().to_public()),))
    entry = make_packed(Catalogue(tmp_path), content=CONTENT, sealing=sealing)
    prove(entry)
    with pytest.raises(DrydockError, match="no identity is set"):
        load.check_files(entry, sealing)
    assert at(entry.path).proof


def test_an_interrupt_costs_no_proof(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does a disk that cannot be read just now."""
    entry = make_packed(Catalogue(tmp_path), content=CONTENT)
    prove(entry)
    for error in (KeyboardInterrupt(), OSError(5, "Input/output error")):

        def fail(*_: object, error: BaseException = error) -> None:
            raise error

        monkeypatch.setattr("drydock.backup.packing.verify", fail)
        with pytest.raises(type(error)):
            load.check_files(entry, OPEN)
    assert (entry.path / PROOF).exists()
