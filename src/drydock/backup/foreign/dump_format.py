"""What a file that somebody hands in is: recognised by its content, whatever it is called."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from drydock.backup import manifest
from drydock.backup.foreign import archive_header
from drydock.backup.foreign.source import Source, damaged, unwrapped
from drydock.errors import DrydockError

if TYPE_CHECKING:
    from pathlib import Path

    from drydock.backup.foreign.archive_header import ArchiveHeader

HEAD = 1 << 16
TAR_MAGIC, TAR_BLOCK = slice(257, 262), 512
FORMS = "Give it what pg_dump writes: plain SQL, -Fc, -Ft or -Fd."
CONVERT = "Convert it first, with pgloader for example."


class Form(Enum):
    """The forms of a dump."""

    CUSTOM = "custom"
    TAR = "tar"
    DIRECTORY = "directory"
    SQL = "plain SQL"
    OURS = "drydock backup"


@dataclass(frozen=True)
class Recognised:
    """What a dump is.

    Attributes:
        form: of the dump itself.
        wrapper: what it is compressed with as a whole: gzip, bzip2, xz, zstd or nothing.
        header: of the three forms that pg_restore reads.
        cluster: True for the plain SQL of pg_dumpall.
    """

    form: Form
    wrapper: str = ""
    header: ArchiveHeader | None = None
    cluster: bool = False

    def __str__(self) -> str:
        """For people, such as `custom (gzip), made by pg_dump 15.4`."""
        wrapped = f" ({self.wrapper})" if self.wrapper else ""
        maker = f", made by pg_dump {self.header.pg_dump}" if self.header and self.header.pg_dump else ""
        return f"{self.form.value}{wrapped}{maker}"


# Files that people mistake for dumps, by how they begin: what it is, and what to do.
_OTHERS = (
    (rb"SQLite format 3\0", "a SQLite database", CONVERT),
    (rb"REDIS\d{4}", "a dump of Redis", "This restores Postgres databases."),
    (rb"PK\x03\x04", "a zip archive", "Unpack it first: unzip FILE"),
    (rb"\x04\x22\x4d\x18", "a file compressed with lz4", "Unpack it first: lz4 -d FILE"),
    (rb"age-encryption\.org/", "a file encrypted with age", "Decrypt it first: age -d -i KEY FILE"),
    (rb"-----BEGIN (AGE|PGP)", "an encrypted file", "Decrypt it first."),
    (
        rb"\xff\xfe|\xfe\xff|(?:[^\0]\0){8}|(?:\0[^\0]){8}",
        "UTF-16 text (PowerShell's > writes that)",
        "Convert it: iconv -f UTF-16 -t UTF-8 FILE > NEW",
    ),
)
_OTHER_SQL = (
    (
        rb"^-- (MySQL|MariaDB|phpMyAdmin)|-MariaDB\b|^/\*M?!\d+|ENGINE ?= ?(InnoDB|MyISAM|Aria)|^CREATE TABLE .*`\w+`",
        "a dump of MySQL or MariaDB",
        CONVERT,
    ),
    (rb"^PRAGMA \w+", "a dump of SQLite", CONVERT),
    (rb"^SET ANSI_NULLS|^USE \[|^GO\r?$", "a script for SQL Server", "Convert it first."),
)
_SQL_WORDS = frozenset(
    b"alter analyze begin comment commit copy create delete discard do drop grant insert lock notify prepare reindex"
    b" reset revoke rollback security select set start truncate update vacuum values with".split()
)
# What may stand before the first statement: blanks, comments, and psql's own commands.
_PREAMBLE = re.compile(rb"(?:\s+|--[^\n]*|/\*.*?\*/|\\[^\n]*|;)*", re.DOTALL)
BOM = b"\xef\xbb\xbf"


def of_folder(folder: Path) -> Recognised:
    """Recognise a folder.

    Raises:
        DrydockError: where it is no dump.
    """
    if (folder / manifest.FILE).exists():
        return Recognised(Form.OURS)
    if (folder / "toc.dat").exists():
        with (folder / "toc.dat").open("rb") as stream:
            head = stream.read(HEAD)
        if not head.startswith(archive_header.MAGIC):
            raise damaged("its toc.dat is not pg_dump's")
        return Recognised(Form.DIRECTORY, header=archive_header.parse(head))
    if (folder / "PG_VERSION").exists():
        raise _no_dump("a server's data directory", "Start that server and take a dump of it: pg_dump -Fc")
    raise _no_dump("a folder without toc.dat", FORMS)


def of_stream(outer: Source) -> tuple[Recognised, Source]:
    """Recognise a file by its first bytes; returns with it the stream to read the dump itself from, unpacked.

    Raises:
        DrydockError: where it is no dump, or of a kind that cannot be restored here.
    """
    if not outer.head(1):
        raise DrydockError("The dump is empty: it has no bytes at all.", hint="Make it again where it came from.")
    inner, wrapper = unwrapped(outer)
    head = inner.head(HEAD)
    if not head:
        raise DrydockError(f"The dump is empty: there is nothing inside its {wrapper} wrapper.", hint="Make it again.")
    found = _of_head(head)
    return Recognised(found.form, wrapper, found.header, found.cluster), inner


def _of_head(head: bytes) -> Recognised:
    if head.startswith(archive_header.MAGIC):
        return Recognised(Form.CUSTOM, header=archive_header.parse(head))
    if head[TAR_MAGIC] == b"ustar":
        return _of_tar(head)
    for pattern, what, hint in _OTHERS:
        if re.match(pattern, head):
            raise _no_dump(what, hint)
    if b"\0" in head:
        raise _no_dump("binary data of an unknown kind", FORMS)
    return _of_text(head.removeprefix(BOM))


def _of_tar(head: bytes) -> Recognised:
    name = head[:100].rstrip(b"\0")
    if name.endswith((b"backup_label", b"tablespace_map")):
        raise _no_dump("a base backup (pg_basebackup)", "Start a server on it and take a dump of that: pg_dump -Fc")
    # That of pg_dump begins with the table of contents; that of a folder may have it anywhere.
    first = name == b"toc.dat"
    return Recognised(Form.TAR, header=archive_header.parse(head[TAR_BLOCK:]) if first else None)


def _of_text(head: bytes) -> Recognised:
    if b"-- PostgreSQL database" in head[:200]:
        return Recognised(Form.SQL, cluster=b"-- PostgreSQL database cluster dump" in head[:200])
    for pattern, what, hint in _OTHER_SQL:
        if re.search(pattern, head, re.MULTILINE):
            raise _no_dump(what, hint)
    preamble = _PREAMBLE.match(head)
    rest = head[preamble.end() if preamble else 0 :]
    word = re.match(rb"[A-Za-z]*", rest)
    known = word is not None and word.group().lower() in _SQL_WORDS
    # A preamble that fills the whole window, or is all there is, can still be a dump's.
    if rest and not known and not rest.startswith((b"--", b"/*")):
        raise _no_dump("no SQL: it begins with " + repr(rest[:24].decode(errors="replace").splitlines()[0]), FORMS)
    return Recognised(Form.SQL)


def _no_dump(what: str, hint: str) -> DrydockError:
    return DrydockError(f"This is not a dump of Postgres but {what}.", hint=hint)
