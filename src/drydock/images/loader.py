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
_PROGRAM_INTERPRETER = 3


@dataclass(frozen=True, slots=True)
class Libraries:
    """The loader and, by the name it asks for, every library; `folder` is where it finds the C library by itself."""

    loader: Path
    folder: Path
    paths: dict[str, Path]


def interpreter(program: Path) -> str:
    """The loader a 64-bit little-endian ELF program names (PT_INTERP); empty for scripts, libraries, static programs."""
    with program.open("rb") as file:
        head = file.read(4096)
        if head[:6] != b"\x7fELF\x02\x01":
            return ""
        (table,) = struct.unpack_from("<Q", head, 0x20)
        size, count = struct.unpack_from("<HH", head, 0x36)
        file.seek(table)
        headers = file.read(size * count)
        for start in range(0, len(headers), size):
            kind, _, offset, _, _, length = struct.unpack_from("<IIQQQQ", headers, start)
            if kind == _PROGRAM_INTERPRETER:
                file.seek(offset)
                return file.read(length).rstrip(b"\0").decode()
    return ""


def libraries(programs: Iterable[Path], modules: Iterable[Path] = ()) -> Libraries:
    """Ask the loader itself what `programs`, and `modules` that they load, are linked with.

    Raises:
        ImageError: where the host's C library is not glibc, or a library is not installed.
    """
    loaders = {program: interpreter(program) for program in programs}
    linked = [program for program, loader in loaders.items() if loader]
    loader = _only({loaders[program] for program in linked})
    with ThreadPoolExecutor(4) as pool:
        listings = pool.map(lambda file: _listing(loader, file), [*linked, *modules])
        found = {name: path for listing in listings for name, path in listing.items()}
    if "libc.so.6" not in found:
        raise ImageError("The C library of this host is not glibc: no local image can be built.", hint=HINT)
    folder = found["libc.so.6"].parent
    found |= {name: folder / name for name in LOADED_LATER if (folder / name).exists()}
    return Libraries(Path(loader), folder, found)


def _only(loaders: set[str]) -> str:
    if len(loaders) != 1:
        raise ImageError(f"The programs of this host use several loaders: {', '.join(sorted(loaders))}.", hint=HINT)
    loader = loaders.pop()
    if "ld-musl" in loader:
        raise ImageError(
            "This host runs on musl, the wheels' programs need glibc: no local image can be built.", hint=HINT
        )
    return loader


def _listing(loader: str, file: Path) -> dict[str, Path]:
    # An empty environment: a LD_LIBRARY_PATH of the caller must not choose what goes into an image.
    text = subprocess.run([loader, "--list", file], env={}, capture_output=True, text=True, check=False).stdout
    if missing := _MISSING.findall(text):
        raise ImageError(f"{file.name} needs {', '.join(missing)}, which this host does not have.", hint=HINT)
    return {match["name"]: Path(match["path"]) for match in _LIBRARY.finditer(text)}
