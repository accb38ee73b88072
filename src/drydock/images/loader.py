"""What a program of this host needs to run elsewhere: its dynamic loader and its shared libraries."""

from __future__ import annotations

import re
import struct
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from drydock.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Iterable

HINT = "ENGINE=embedded invoke up, or invoke images.pull"
# Loaded by name while running (`dlopen`), so no listing shows them. Since glibc 2.34 the first three are stubs.
LOADED_LATER = ("libnss_files.so.2", "libnss_dns.so.2", "libresolv.so.2", "libgcc_s.so.1")

_LIBRARY = re.compile(r"^\s*(?P<name>\S+) => (?P<path>/.*) \(0x[0-9a-f]+\)$", re.MULTILINE)
_MISSING = re.compile(r"^\s*(\S+) => not found$", re.MULTILINE)
# Kinds of program headers and tags of the dynamic section, from elf(5).
_LOAD, _DYNAMIC, _INTERPRETER = 1, 2, 3
_NEEDED, _STRINGS = 1, 5


@dataclass(frozen=True, slots=True)
class Linkage:
    """What an ELF file says of itself: its loader (empty in a library) and the names of the libraries it asks for."""

    loader: str
    needed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Libraries:
    """The loader and, by the name it asks for, every library; `folder` is where it finds the C library by itself."""

    loader: Path
    folder: Path
    paths: dict[str, Path]


def linkage(file: Path) -> Linkage:
    """Read a 64-bit little-endian ELF file; a script or a static program has no loader and needs nothing."""
    content = file.read_bytes()
    if content[:6] != b"\x7fELF\x02\x01":
        return Linkage("", ())
    (table,) = struct.unpack_from("<Q", content, 0x20)
    size, count = struct.unpack_from("<HH", content, 0x36)
    headers = [struct.unpack_from("<IIQQQQ", content, table + size * index) for index in range(count)]
    loader, needed, strings = "", [], 0
    for kind, _, offset, _, _, length in headers:
        part = content[offset : offset + length]
        if kind == _INTERPRETER:
            loader = part.rstrip(b"\0").decode()
        elif kind == _DYNAMIC:
            tags = list(struct.iter_unpack("<QQ", part))
            needed = [value for tag, value in tags if tag == _NEEDED]
            strings = next(value for tag, value in tags if tag == _STRINGS)
    # The table of strings is named by its address in memory.
    for kind, _, offset, address, _, length in headers:
        if kind == _LOAD and address <= strings < address + length:
            start = offset + strings - address
            return Linkage(loader, tuple(_string(content, start + name) for name in needed))
    return Linkage(loader, ())


def libraries(programs: Iterable[Path], modules: Iterable[Path] = ()) -> Libraries:
    """Ask the loader itself what `programs`, and `modules` that they load, are linked with.

    Files of one folder that need the same libraries find the same: one of them is asked about.

    Raises:
        ImageError: where the host's C library is not glibc, or a library is not installed.
    """
    links = {file: linkage(file) for file in (*programs, *modules)}
    loader = _only({link.loader for link in links.values() if link.loader})
    distinct = {(file.parent, link.needed): file for file, link in links.items() if link.needed}
    with ThreadPoolExecutor(4) as pool:
        listings = pool.map(lambda file: _listing(loader, file), distinct.values())
        found = {name: path for listing in listings for name, path in listing.items()}
    folder = found["libc.so.6"].parent
    found |= {name: folder / name for name in LOADED_LATER if (folder / name).exists()}
    return Libraries(Path(loader), folder, found)


def _only(loaders: set[str]) -> str:
    if len(loaders) != 1 or "ld-linux" not in (loader := loaders.pop()):
        raise ImageError("The programs of this host are not all glibc's: no local image can be built.", hint=HINT)
    return loader


def _string(content: bytes, start: int) -> str:
    return content[start : content.index(b"\0", start)].decode()


def _listing(loader: str, file: Path) -> dict[str, Path]:
    # An empty environment: a LD_LIBRARY_PATH of the caller must not choose what goes into an image.
    text = subprocess.run([loader, "--list", file], env={}, capture_output=True, text=True, check=False).stdout
    if missing := _MISSING.findall(text):
        raise ImageError(f"{file.name} needs {', '.join(missing)}, which this host does not have.", hint=HINT)
    return {match["name"]: Path(match["path"]) for match in _LIBRARY.finditer(text)}
