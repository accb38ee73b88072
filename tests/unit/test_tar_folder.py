from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING

import pytest

from drydock.backup.foreign.tar_folder import lay_out
from drydock.errors import DrydockError

if TYPE_CHECKING:
    from pathlib import Path

FILES = {"toc.dat": b"PGDMP", "3001.dat.gz": b"rows" * 1000, "blob_7.dat": b"large", "blobs.toc": b"7 blob_7.dat\n"}


def archive(files: dict[str, bytes]) -> bytes:
    """A tar archive of these files, by name."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def contents(folder: Path) -> dict[str, bytes]:
    """The files of a folder by name."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("before", ["", "./", "shop/", "./shop/"])
def test_the_files_of_a_dump_are_laid_out(tmp_path: Path, before: str) -> None:
    """Of pg_dump's own archive, and of one of the folder; only its owner may read what lies there."""
    lay_out(io.BytesIO(archive({before + name: content for name, content in FILES.items()})), tmp_path)
    assert contents(tmp_path) == FILES
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


def test_nothing_else_is_laid_out(tmp_path: Path) -> None:
    """Paths that lead elsewhere, deep ones, and what is no part of a dump are left where they are."""
    folder = tmp_path / "folder"
    folder.mkdir()
    others = {"../toc.dat": b"x", "/toc.dat": b"x", "a/b/toc.dat": b"x", "restore.sql": b"x", ".bashrc": b"x"}
    lay_out(io.BytesIO(archive(others | FILES)), folder)
    assert contents(folder) == FILES
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


@pytest.mark.parametrize("end", [10, 512, 700, 1024, 1536, 3000, 5632, -10240, -9000])
def test_an_archive_that_was_cut_off_is_damaged(tmp_path: Path, end: int) -> None:
    """Inside a header, inside a file, between two files: each is found."""
    with pytest.raises(DrydockError, match="damaged"):
        lay_out(io.BytesIO(archive(FILES)[:end]), tmp_path)


def test_an_archive_of_something_else(tmp_path: Path) -> None:
    """Without a table of contents it is no dump, and that is said."""
    with pytest.raises(DrydockError, match=r"no toc\.dat"):
        lay_out(io.BytesIO(archive({"readme.txt": b"hello"})), tmp_path)
