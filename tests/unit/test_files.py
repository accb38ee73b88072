from __future__ import annotations

import os
from pathlib import Path

import pytest

from drydock import files


def test_mode_is_what_was_asked_for_under_any_umask(tmp_path: Path) -> None:
    """The umask neither widens nor narrows the mode."""
    before = os.umask(0o077)
    try:
        files.write_atomic(tmp_path / "open", "x", mode=0o644)
        files.write_atomic(tmp_path / "closed", "x")
    finally:
        os.umask(before)
    assert ((tmp_path / "open").stat().st_mode & 0o777, (tmp_path / "closed").stat().st_mode & 0o777) == (0o644, 0o600)
    assert (files.others_can_read(tmp_path / "closed"), files.others_can_read(tmp_path / "open")) == (False, True)


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the disk is full, the old content stands and no temporary file is left."""
    path = tmp_path / "state"
    files.write_atomic(path, "old")

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        files.write_atomic(path, "new")
    assert (path.read_text(), sorted(p.name for p in tmp_path.iterdir())) == ("old", ["state"])


def test_an_interruption_right_after_the_rename_stays_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C once the new file has its name is Ctrl-C, not a complaint about the temporary file that is gone."""
    replace = Path.replace

    def interrupted(source: Path, target: Path) -> None:
        replace(source, target)
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        files.write_atomic(tmp_path / "state", "new")
    assert ((tmp_path / "state").read_text(), len(list(tmp_path.iterdir()))) == ("new", 1)
