"""What records say behind their headers, in PostgreSQL 16's structures.

Source: access/xlogrecord.h, access/xact.h, access/heapam_xlog.h, storage/standbydefs.h, catalog/pg_control.h,
replication/message.h, commands/tablespace.h, commands/dbcommands_xlog.h.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import NamedTuple

from drydock.recovery.wal.records import HEADER, INFO, PREPARE

FILE = struct.Struct("=III")  # RelFileLocator: tablespace, database, number
SINCE_2000 = 946_684_800_000_000  # microseconds between 1970 and Postgres' own epoch
# Ids that stand for something else than a block in the list of what a record carries.
SHORT, LONG, ORIGIN, TOP = 255, 254, 253, 252
_SIZES = {ORIGIN: 3, TOP: 5}
HAS_IMAGE, HAS_HOLE, COMPRESSED, SAME_FILE = 0x10, 0x01, 0x1C, 0x80
HAS_INFO = 0x80
HAS_DATABASE, HAS_SUBXACTS, HAS_FILES, HAS_MESSAGES, HAS_TWOPHASE, HAS_STATISTICS = 1, 2, 4, 8, 16, 256
IS_SUPER = 0x08  # XLH_DELETE_IS_SUPER
RELCACHE = -2  # SHAREDINVALRELCACHE_ID
_BLOCK = 4  # bytes of the head of a block, and of its number
_IMAGE = 5  # and of the head of an image: length, where its hole is, flags
_ITEM, _INVALIDATION = 12, 16
_PREPARE = struct.Struct("=IIIIqIiiiiii?xHQq")
_RUNNING = struct.Struct("=ii?3xII")  # counts, flag, next and oldest running transaction
_LOCK = struct.Struct("=III")  # transaction, database, relation
_MESSAGE = struct.Struct("=I?3xQQ")  # database, transactional, sizes of prefix and message
_NEXT = struct.Struct("=24xQ")  # of CheckPoint, the 64-bit number of the next transaction
_COUNT = struct.Struct("=i")
_TIME = struct.Struct("=q")
_NUMBER = struct.Struct("=I")
_SHORT = struct.Struct("=H")


@dataclass(slots=True)
class End:
    """The end of a transaction.

    Attributes:
        microseconds: since 1970 (UTC).
        xid: of the two-phase transaction that it ends; None where it ends its own.
        dropped: files.
        relations: that it invalidates, by object identifier.
        database: of the session, where the record says so: where it invalidates anything; 0 otherwise.
    """

    microseconds: int
    xid: int | None = None
    subxids: tuple[int, ...] = ()
    dropped: tuple[str, ...] = ()
    relations: tuple[int, ...] = ()
    database: int = 0


class Message(NamedTuple):
    """A logical message, and the database of the session that sent it."""

    database: int
    prefix: bytes
    content: bytes


def block_file(data: bytes, place: int) -> bytes:
    """The file of the first block that a record changes, as it lies there."""
    flags = data[place + HEADER + 1]
    at = place + HEADER + _BLOCK + (_image(data, place + HEADER + _BLOCK) if flags & HAS_IMAGE else 0)
    return data[at : at + FILE.size]


def body(data: bytes, place: int) -> int:
    """Where the main data of a record begins: behind the heads of everything, and the data of its blocks."""
    at, blocks = place + HEADER, 0
    if data[at] == SHORT:  # nothing else, as most commits are
        return at + 2
    while (kind := data[at]) < TOP:
        flags, size = data[at + 1], _SHORT.unpack_from(data, at + 2)[0]
        at += _BLOCK
        if flags & HAS_IMAGE:
            blocks += _SHORT.unpack_from(data, at)[0]
            at += _image(data, at)
        at += _BLOCK + (0 if flags & SAME_FILE else FILE.size)
        blocks += size
    while kind in _SIZES:
        at += _SIZES[kind]
        kind = data[at]
    return at + blocks + (2 if kind == SHORT else 5)


def text(file: bytes) -> bytes:
    """A file as pg_waldump writes it: `1663/5/16384`."""
    return b"%d/%d/%d" % FILE.unpack(file)


def end(kind: int, data: bytes, place: int) -> End:
    """What a commit, an abort or a PREPARE says; `place` is that of the record."""
    at = body(data, place)
    if kind == PREPARE:
        return _prepared(data, at)
    found = End(_TIME.unpack_from(data, at)[0] + SINCE_2000)
    if not data[place + INFO] & HAS_INFO:
        return found
    flags = _NUMBER.unpack_from(data, at + 8)[0]
    at += 12
    if flags & HAS_DATABASE:
        found.database, at = _NUMBER.unpack_from(data, at)[0], at + 8
    if flags & HAS_SUBXACTS:
        found.subxids, at = _numbers(data, at)
    if flags & HAS_FILES:
        count = _COUNT.unpack_from(data, at)[0]
        found.dropped, at = _dropped(data, at + 4, count), at + 4 + count * FILE.size
    if flags & HAS_STATISTICS:
        at += 4 + _COUNT.unpack_from(data, at)[0] * _ITEM
    if flags & HAS_MESSAGES:
        count = _COUNT.unpack_from(data, at)[0]
        found.relations, at = _relations(data, at + 4, count), at + 4 + count * _INVALIDATION
    if flags & HAS_TWOPHASE:
        found.xid = _NUMBER.unpack_from(data, at)[0]
    return found


def only_time(data: bytes, place: int) -> int | None:
    """When a commit was, in microseconds since 1970 (UTC); None where the record says more than that."""
    if data[place + INFO] & HAS_INFO or data[place + HEADER] != SHORT:
        return None
    return int(_TIME.unpack_from(data, place + HEADER + 2)[0]) + SINCE_2000


def tuples(data: bytes, at: int) -> int:
    """How many rows a multi-insert has."""
    return int(_SHORT.unpack_from(data, at + 2)[0])


def takes_back(data: bytes, at: int) -> bool:
    """Whether a deletion is of a speculative insertion (INSERT … ON CONFLICT) that met a conflict."""
    return bool(data[at + 7] & IS_SUPER)


def created(data: bytes, at: int) -> str:
    """The file that is made."""
    return text(data[at : at + FILE.size]).decode()


def location(data: bytes, at: int) -> str:
    """The folder of a tablespace that is made; empty where it is within the data directory."""
    begin = at + _NUMBER.size
    return data[begin : data.index(b"\0", begin)].decode(errors="replace")


def dropped_database(data: bytes, at: int) -> int:
    """The database that is dropped."""
    return int(_NUMBER.unpack_from(data, at)[0])


def locks(data: bytes, at: int) -> list[tuple[int, int, int]]:
    """Transactions, and the databases and relations that they hold exclusively."""
    count = _COUNT.unpack_from(data, at)[0]
    return [_LOCK.unpack_from(data, at + 4 + number * _LOCK.size) for number in range(count)]


def running(data: bytes, at: int) -> tuple[int, int]:
    """The next transaction, and the oldest that is going on."""
    _, _, _, following, oldest = _RUNNING.unpack_from(data, at)
    return following, oldest


def next_xid(data: bytes, at: int) -> int:
    """The 64-bit number of the next transaction, as a checkpoint has it."""
    return int(_NEXT.unpack_from(data, at)[0])


def message(data: bytes, at: int) -> Message | None:
    """A logical message; None where it belongs to no transaction."""
    database, transactional, prefix, size = _MESSAGE.unpack_from(data, at)
    at += _MESSAGE.size
    said = Message(database, data[at : at + prefix - 1], data[at + prefix : at + prefix + size])
    return said if transactional else None


def _image(data: bytes, at: int) -> int:
    """Bytes of the head of an image."""
    flags = data[at + 4]
    return _IMAGE + (2 if flags & HAS_HOLE and flags & COMPRESSED else 0)


def _prepared(data: bytes, at: int) -> End:
    _, _, _, _, time, _, subxids, *_, name, _, _ = _PREPARE.unpack_from(data, at)
    at += _PREPARE.size + ((name + 7) & -8)
    return End(time + SINCE_2000, subxids=struct.unpack_from(f"={subxids}I", data, at))


def _numbers(data: bytes, at: int) -> tuple[tuple[int, ...], int]:
    count = _COUNT.unpack_from(data, at)[0]
    return struct.unpack_from(f"={count}I", data, at + 4), at + 4 + count * 4


def _dropped(data: bytes, at: int, count: int) -> tuple[str, ...]:
    return tuple(created(data, at + number * FILE.size) for number in range(count))


def _relations(data: bytes, at: int, count: int) -> tuple[int, ...]:
    """Those whose entry in the relation cache is invalid: identifier of the message, database, relation."""
    found = (struct.unpack_from("=b3xII", data, at + number * _INVALIDATION) for number in range(count))
    return tuple(sorted({relation for what, _, relation in found if what == RELCACHE}))
