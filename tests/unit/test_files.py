from __future__ import annotations

import os
import sys
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


def file_system(path: Path) -> str:
    """What /proc/mounts says holds a folder."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    holding = [(len(where), kind) for _, where, kind, *_ in mounts if path.is_relative_to(where)]
    return max(holding)[1]


def test_folders_are_spread_over_the_disk(tmp_path: Path) -> None:
    """On ext4 their inodes lie groups of thousands apart, also when it is asked for twice."""
    if sys.platform != "linux" or file_system(tmp_path) != "ext4":
        pytest.skip("only ext4 keeps folders together")
    for _ in range(2):
        files.spread(tmp_path)
    numbers = []
    for name in range(8):
        (tmp_path / str(name)).mkdir()
        numbers.append((tmp_path / str(name)).stat().st_ino)
    assert max(numbers) - min(numbers) > 1000


def test_where_a_file_system_does_not_spread_it_stays_as_it_is() -> None:
    """A folder in memory, or in /proc: no error."""
    for folder in ("/dev/shm", "/proc", "/sys"):  # noqa: S108 - nothing is written
        if Path(folder).is_dir():
            files.spread(Path(folder))
