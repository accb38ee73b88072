"""What is in a directory dump: its `toc.dat`, read as pg_restore reads it, to choose what is restored as whom."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from drydock.backup.foreign import archive_header
from drydock.backup.foreign.archive_header import ByteReader
from drydock.backup.foreign.source import damaged

if TYPE_CHECKING:
    from collections.abc import Iterable

# The only form that our pg_dump writes (K_VERS_1_15 in pg_backup_archiver.h).
VERSION = (1, 15)
INTEGER = 4  # bytes
# What pg_dump names no owner of: said to the session that restores, of extensions, or somebody's all the same.
NOBODYS = frozenset({"ENCODING", "STDSTRINGS", "SEARCHPATH", "EXTENSION", "COMMENT", "CAST", "TRANSFORM", "BLOBS"})


@dataclass(frozen=True)
class Item:
    """One thing that is restored.

    Attributes:
        number: by which pg_restore's list names it.
        kind: such as `TABLE DATA`.
        tag: its name, for people; `TABLE users` where the kind is `COMMENT`.
        definition: the SQL that creates it; may be empty.
        owner: the role it belongs to; may be empty.
    """

    number: int
    kind: str
    tag: str
    definition: str
    owner: str

    @property
    def of_schema(self) -> bool:
        """True for a schema that has to be created."""
        return self.kind == "SCHEMA" and self.tag != "public"

    @property
    def of_extension(self) -> bool:
        """True for an extension and what is said of it."""
        return self.kind == "EXTENSION" or (self.kind == "COMMENT" and self.tag.startswith("EXTENSION "))

    @property
    def of_row_security(self) -> bool:
        """True for what decides which rows a role sees."""
        return self.kind in {"POLICY", "ROW SECURITY"} or (self.kind == "COMMENT" and self.tag.startswith("POLICY "))


def read(data: bytes) -> list[Item]:
    """The items in the content of a `toc.dat`, in the order in which they are restored (ReadToc).

    Raises:
        DrydockError: where it is cut off, makes no sense, or is of another version of the format.
    """
    reader = ByteReader(data, longest=len(data))
    try:
        version = archive_header.read(reader).version
        items = [_item(reader) for _ in range(reader.integer(INTEGER))] if version == VERSION else []
    except (IndexError, ValueError) as error:
        raise damaged("its table of contents makes no sense") from error
    if version != VERSION:
        raise damaged(f"its table of contents is of format {'.'.join(map(str, version))}")
    return items


def belongs_to(items: Iterable[Item], owner: str) -> bool:
    """True where all of it is a role's own, and can be restored with no more rights than that role has."""
    return all(item.owner == owner or (not item.owner and item.kind in NOBODYS) for item in items)


def listing(items: Iterable[Item]) -> str:
    """The file that pg_restore takes with --use-list to restore just these, in this order."""
    return "".join(f"{item.number};\n" for item in items)


def _item(reader: ByteReader) -> Item:
    number = reader.integer(INTEGER)
    reader.integer(INTEGER)  # whether there is data
    reader.text(INTEGER), reader.text(INTEGER)  # ids in the server's catalogue
    tag, kind = reader.text(INTEGER), reader.text(INTEGER)
    reader.integer(INTEGER)  # the section
    definition = reader.text(INTEGER)
    for _ in range(5):  # how to drop it, how to copy it, schema, tablespace, access method
        reader.text(INTEGER)
    owner = reader.text(INTEGER)
    reader.text(INTEGER)  # a flag of long ago
    while reader.optional_text(INTEGER) is not None:
        pass  # what it depends on
    reader.text(INTEGER)  # the file with its data
    return Item(number, kind, tag, definition, owner)
