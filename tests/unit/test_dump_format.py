from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
from typing import TYPE_CHECKING

import pytest
import zstandard

from drydock.backup.foreign import dump_format
from drydock.backup.foreign.dump_format import Form
from drydock.backup.foreign.source import Source
from drydock.errors import DrydockError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SQL = b"--\n-- PostgreSQL database dump\n--\n\nSET statement_timeout = 0;\n"
ZSTD = zstandard.ZstdCompressor(write_checksum=True).compress(SQL)
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstandard.compress,
}


def number(value: int) -> bytes:
    """An integer as archives have it: a sign and four bytes."""
    return b"\0" + value.to_bytes(4, "little")


def text(value: str) -> bytes:
    """A text as archives have it."""
    return number(len(value)) + value.encode()


def header(version: tuple[int, int], compression: bytes, form: int = 1) -> bytes:
    """The beginning of an archive of Postgres' pg_dump."""
    words = text("shop") + text("15.3") + text("16.1 (Debian)")
    return b"PGDMP" + bytes([*version, 0, 4, 8, form]) + compression + number(0) * 7 + words


CUSTOM = header((1, 15), b"\x03")


def in_tar(name: str, content: bytes) -> bytes:
    """A tar archive of one file."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    return stream.getvalue()


NO_DUMPS = {
    "no bytes": (b"", "empty"),
    "nothing in gzip": (gzip.compress(b""), "empty"),
    "cut gzip": (gzip.compress(SQL)[:-20], "damaged: its gzip data"),
    "cut xz": (lzma.compress(SQL)[:-20], "damaged: its xz data"),
    "cut bzip2": (bz2.compress(SQL)[:-20], "damaged: its bzip2 data"),
    "cut zstd": (zstandard.compress(SQL)[:-5], "damaged: its zstd data"),
    "altered zstd": (ZSTD[:9] + bytes([ZSTD[9] ^ 1]) + ZSTD[10:], "damaged: its zstd data"),
    "magic alone": (b"PGDMP", "damaged: its first bytes"),
    "cut header": (CUSTOM[:40], "damaged: its first bytes"),
    "altered header": (b"PGDMP" + b"\xff" * 100, "damaged: its first bytes"),
    "UTF-16 with mark": (SQL.decode().encode("utf-16"), "UTF-16"),
    "UTF-16 little": (SQL.decode().encode("utf-16-le"), "UTF-16"),
    "UTF-16 big": (SQL.decode().encode("utf-16-be"), "UTF-16"),
    "binary": (bytes(range(256)) * 20, "binary data"),
    "SQLite": (b"SQLite format 3\0" + b"\0" * 100, "SQLite"),
    "SQLite SQL": (b"PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\n", "SQLite"),
    "mysqldump": (b"-- MySQL dump 10.13  Distrib 8.0.36\n", "MySQL"),
    "mariadb-dump": (b"/*M!999999\\- enable the sandbox mode */ \n-- MariaDB dump 10.19\n", "MySQL or MariaDB"),
    "MySQL by its words": (b"CREATE TABLE `users` (`id` int) ENGINE=InnoDB;\n", "MySQL"),
    "SQL Server": (b"USE [master]\r\nGO\r\n", "SQL Server"),
    "Redis": (b"REDIS0011\xfa", "Redis"),
    "zip": (b"PK\x03\x04" + b"\0" * 30, "zip"),
    "lz4": (b"\x04\x22\x4d\x18" + b"\0" * 30, "lz4"),
    "age": (b"age-encryption.org/v1\n-> X25519 x\n", "encrypted with age"),
    "base backup": (in_tar("backup_label", b"START WAL"), "base backup"),
    "CSV": (b"id,name\n1,a\n", "no SQL: it begins with 'id,name'"),
    "JSON": (b'{"a": 1}', "no SQL"),
    "HTML": (b"<html>404 not found</html>", "no SQL"),
}


@pytest.mark.parametrize("wrapper", PACKERS)
@pytest.mark.parametrize(
    ("content", "form"),
    [
        (CUSTOM, Form.CUSTOM),
        (in_tar("toc.dat", CUSTOM), Form.TAR),
        (in_tar("shop/toc.dat", CUSTOM), Form.TAR),
        (SQL, Form.SQL),
        (b"\xef\xbb\xbf" + SQL, Form.SQL),
        (b"\\restrict abc\n\n/* x */ create table t (a int);", Form.SQL),
        (b"BEGIN;\nINSERT INTO t VALUES ('ENGINE');", Form.SQL),
        (SQL + b"COPY notes FROM stdin;\n) ENGINE=InnoDB\nPRAGMA x\n", Form.SQL),
        (b"-- " + b"-" * 100_000 + b"\nselect 1;", Form.SQL),
    ],
    ids=[
        "custom",
        "tar",
        "tar of a folder",
        "pg_dump",
        "byte order mark",
        "psql commands",
        "hand-made",
        "MySQL in rows",
        "long comment",
    ],
)
def test_each_form_is_recognised_in_each_wrapper(content: bytes, form: Form, wrapper: str) -> None:
    """The content decides, and what it was recognised by can still be read."""
    found, inner = dump_format.of_stream(Source(io.BytesIO(PACKERS[wrapper](content))))
    assert (found.form, found.wrapper) == (form, wrapper)
    blocks = iter(lambda: inner.read(1000), b"")
    assert b"".join(blocks) == content


def test_what_an_archive_says_of_itself() -> None:
    """Its format's version, its compression, what was dumped and by which program; old formats say it otherwise."""
    found, _ = dump_format.of_stream(Source(io.BytesIO(CUSTOM)))
    assert found.header
    assert (found.header.version, found.header.compression) == ((1, 15), "zstd")
    assert (found.header.database, found.header.server, found.header.pg_dump) == ("shop", "15.3", "16.1 (Debian)")
    assert str(found) == "custom, made by pg_dump 16.1 (Debian)"
    old, _ = dump_format.of_stream(Source(io.BytesIO(header((1, 14), number(6)))))
    assert old.header
    assert (old.header.compression, old.header.database, old.header.too_new) == ("gzip", "shop", False)
    new, _ = dump_format.of_stream(Source(io.BytesIO(header((1, 16), b"\0"))))
    assert new.header
    assert new.header.too_new


@pytest.mark.parametrize("name", NO_DUMPS)
def test_what_is_no_dump_is_refused_by_its_name(name: str) -> None:
    """Each says in a sentence what it is instead, or that it is damaged, and what to do."""
    content, words = NO_DUMPS[name]
    with pytest.raises(DrydockError, match=words) as caught:
        dump_format.of_stream(Source(io.BytesIO(content)))
    assert caught.value.hint


def test_folders(tmp_path: Path) -> None:
    """A directory dump, one of our own backups, and folders that are neither."""
    (tmp_path / "toc.dat").write_bytes(header((1, 15), b"\0", form=3))
    assert dump_format.of_folder(tmp_path).form is Form.DIRECTORY
    (tmp_path / "manifest.json").write_text("{}")
    assert dump_format.of_folder(tmp_path).form is Form.OURS
    (tmp_path / "data").mkdir()
    with pytest.raises(DrydockError, match=r"without toc\.dat"):
        dump_format.of_folder(tmp_path / "data")
    (tmp_path / "data" / "PG_VERSION").write_text("16\n")
    with pytest.raises(DrydockError, match="data directory"):
        dump_format.of_folder(tmp_path / "data")
    (tmp_path / "data" / "toc.dat").write_text("something else")
    with pytest.raises(DrydockError, match="is not pg_dump's"):
        dump_format.of_folder(tmp_path / "data")
