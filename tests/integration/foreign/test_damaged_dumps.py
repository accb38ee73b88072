"""Dumps that are cut off, altered, newer or none at all."""

from __future__ import annotations

import contextlib
import io
import random
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from drydock.engine import wheels
from drydock.errors import DrydockError
from tests.strangers import LOADED, PACKERS, STRANGER, Dumps, loaded, text_of

if TYPE_CHECKING:
    from tests.checkout import Checkout


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (b"SET client_encoding = 'SJIS'; CREATE TABLE t ();", "written in SJIS"),
        (b"\\connect one\nCREATE TABLE t ();\n\\connect two\nCREATE TABLE t ();", "several databases: one, two"),
        (
            b"COPY public.t (a) FROM stdin;\n1\n\\.\nINSERT INTO t VALUES (1);",
            "Nothing of the dump could be created.*COPY",
        ),
        (
            b"SELECT lo_create(4711); COPY public.t (a) FROM stdin;\n1\n\\.\nALTER LARGE OBJECT 4711 OWNER TO bob;",
            "Nothing of the dump could be created.*COPY",
        ),
        (b"SET statement_timeout = 0;", "no table in it"),
        (b"CREATE TABLE t (a int); COPY t FROM stdin;\n1\n", "inside the rows"),
    ],
    ids=["encoding", "two databases", "rows alone", "rows and a large object", "nothing", "cut off"],
)
def test_scripts_that_cannot_be_loaded(scratch: Checkout, script: bytes, words: str) -> None:
    """Each is refused in a sentence."""
    with pytest.raises(DrydockError, match=words), loaded(scratch, io.BytesIO(script)):
        pass


def test_a_dump_of_large_objects_alone(scratch: Checkout) -> None:
    """They are data as rows are, where nothing else was to come."""
    with loaded(scratch, io.BytesIO(b"SELECT lo_from_bytea(4711, 'large');")) as carried:
        assert (carried.tables, carried.complete) == (0, True)


@pytest.mark.parametrize(
    ("script", "hint"),
    [
        (b"CREATE TABLE sales.ord ();", "pg_dump --schema=sales"),
        (b'CREATE TABLE "My sales".ord ();', """pg_dump --schema='"My sales"'"""),
        (b"COPY sales.ord (a) FROM stdin;\n1\n\\.\n", "take one with both"),
    ],
)
def test_a_table_without_its_schema(scratch: Checkout, script: bytes, hint: str) -> None:
    """`pg_dump --table` leaves the schema out: the hint says how to have both, and rows alone have another."""
    with pytest.raises(DrydockError, match="does not exist") as caught, loaded(scratch, io.BytesIO(script)):
        pass
    assert hint in caught.value.hint


@pytest.mark.usefixtures("embedded_engine")
def test_a_dump_of_a_newer_postgres(scratch_dumps: Dumps, tmp_path: Path) -> None:
    """The archive of a newer pg_dump is refused with what to do; following that advice works."""
    newer = wheels.postgres_home().with_name("pginstall18") / "bin" / "pg_dump"
    environment = scratch_dumps.checkout.environment
    url = environment.database_url(environment.superuser, STRANGER)
    for form in ("c", "p"):
        with (tmp_path / form).open("wb") as stream:
            subprocess.run([newer, f"--format={form}", url], stdout=stream, check=True)
    with pytest.raises(DrydockError, match="newer than 16") as caught, loaded(scratch_dumps.checkout, tmp_path / "c"):
        pass
    assert "pg_restore -f" in caught.value.hint
    with loaded(scratch_dumps.checkout, tmp_path / "p") as carried:
        assert (carried.rows, carried.failures) == (506, ())
        assert carried.settings == ("SET transaction_timeout = 0",)
        assert text_of(scratch_dumps.checkout, LOADED) == scratch_dumps.text


@pytest.mark.parametrize("options", [["--format=c"], ["--format=t"], [], ["--format=c", "--compress=0"]])
def test_a_dump_that_was_cut_off_is_never_taken_for_whole(scratch_dumps: Dumps, options: list[str]) -> None:
    """Wherever it ends, it is damaged; a tar archive's own end of zeros may be missing."""
    whole = scratch_dumps.bytes(*options)
    needed = len(whole.rstrip(b"\0")) if options == ["--format=t"] else len(whole.rstrip()) - 10
    for part in (1, 50, needed // 10, needed // 2, needed * 9 // 10, needed - 100):
        with (
            pytest.raises(DrydockError, match=r"damaged|no SQL|binary"),
            loaded(scratch_dumps.checkout, io.BytesIO(whole[:part])),
        ):
            pass


@pytest.mark.parametrize("wrapper", ["", "gzip", "xz", "bzip2", "zstd"])
def test_altered_bytes_are_caught_or_do_no_harm(scratch_dumps: Dumps, wrapper: str) -> None:
    """Flipped bits end in a sentence; where nothing guards a dump's bytes, it may load with other content."""
    chance = random.Random(wrapper)  # noqa: S311 - the same flips each time
    data = PACKERS[wrapper](scratch_dumps.bytes("--format=c"))
    caught = 0
    for _ in range(5):
        at = chance.randrange(len(data))
        altered = data[:at] + bytes([data[at] ^ (1 << chance.randrange(8))]) + data[at + 1 :]
        with contextlib.suppress(DrydockError), loaded(scratch_dumps.checkout, io.BytesIO(altered)):
            continue
        caught += 1
    assert caught >= (0 if wrapper == "" else 4), caught


def test_a_damaged_folder(scratch_dumps: Dumps, tmp_path: Path) -> None:
    """A table's file that is missing, cut off or altered is found, and named where it can be."""
    for damage in (Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-9])):
        folder = tmp_path / "copy"
        shutil.copytree(scratch_dumps.directory(), folder)
        damage(max(folder.glob("*.dat.gz"), key=lambda path: path.stat().st_size))
        with pytest.raises(DrydockError, match="damaged: pg_restore says"), loaded(scratch_dumps.checkout, folder):
            pass
        shutil.rmtree(folder)


@pytest.mark.parametrize("name", ["missing", "unreadable", "ours"])
def test_files_that_cannot_be_taken(scratch: Checkout, tmp_path: Path, name: str) -> None:
    """A path without a file, one that may not be read, and a backup of drydock's own."""
    path = tmp_path / name
    if name == "unreadable":
        path.symlink_to(path)
    elif name == "ours":
        path.mkdir()
        (path / "manifest.json").write_text("{}")
    words = {"missing": "No such file", "unreadable": "Too many levels", "ours": "drydock's own"}[name]
    with pytest.raises(DrydockError, match=words), loaded(scratch, path):
        pass


def test_a_path_without_a_file_is_no_name_of_a_backup(scratch: Checkout, tmp_path: Path) -> None:
    """What looks like a path is answered as one."""
    assert (
        f"There is no file or folder {tmp_path}/gone.dump."
        in scratch.run("restore", f"{tmp_path}/gone.dump", code=1).stderr
    )
