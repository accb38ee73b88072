"""A root filesystem as a deterministic tar: the same files give the same bytes, whoever collects them and when."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

Owner = tuple[int, int]
ROOT: Owner = (0, 0)
# On every current distribution these are links into /usr, and loaders are named by the old paths.
MERGED = ("bin", "sbin", "lib", "lib64")


@dataclass(frozen=True, slots=True)
class Entry:
    """One folder, link or file; `content` is a file's bytes, or the host file that has them."""

    kind: bytes
    mode: int
    owner: Owner = ROOT
    target: str = ""
    content: bytes | Path = b""

    def read(self) -> bytes:
        """The bytes of a file."""
        return self.content.read_bytes() if isinstance(self.content, Path) else self.content


class Tree:
    """The files of an image, by absolute path. Folders on the way to a file come into being with it (root, 0755)."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        for name in MERGED:
            self.folder(f"/usr/{name}")
            self.entries[name] = Entry(tarfile.SYMTYPE, 0o777, target=f"usr/{name}")

    def folder(self, path: str, mode: int = 0o755, owner: Owner = ROOT) -> None:
        """Add a folder, or give one that is there another mode and owner."""
        self._add(path, Entry(tarfile.DIRTYPE, mode, owner))

    def file(self, path: str, content: bytes | Path, mode: int | None = None) -> None:
        """Add a file of root's; without `mode`, 0755 where the host file is executable, else 0644."""
        if mode is None:
            mode = 0o755 if isinstance(content, Path) and os.access(content, os.X_OK) else 0o644
        if isinstance(content, Path) and content.is_symlink():
            content = content.resolve(strict=True)
        self._add(path, Entry(tarfile.REGTYPE, mode, content=content))

    def link(self, path: str, target: str) -> None:
        """Add a symbolic link."""
        self._add(path, Entry(tarfile.SYMTYPE, 0o777, target=target))

    def copy(self, path: str, source: Path) -> None:
        """Add every file below a host folder, links followed."""
        for folder, _, names in os.walk(source, followlinks=True):
            place = folder.replace(str(source), path, 1)
            for name in names:
                self.file(f"{place}/{name}", Path(folder, name))

    def fingerprint(self) -> str:
        """A hash of every path, mode, owner, link and content, in hexadecimal."""
        total = hashlib.sha256()
        for path, entry in sorted(self.entries.items()):
            content = hashlib.sha256(entry.read()).hexdigest()
            total.update(f"{path}\0{entry.kind!r}\0{entry.mode:o}\0{entry.owner}\0{entry.target}\0{content}\n".encode())
        return total.hexdigest()

    def write(self, stream: IO[bytes]) -> None:
        """Write the tar: sorted, dated 1970, one copy of a host file that has several names."""
        names: dict[tuple[Path, int], str] = {}
        with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for path, entry in sorted(self.entries.items()):
                header = _header(path, entry)
                if isinstance(entry.content, Path):
                    first = names.setdefault((entry.content, entry.mode), path)
                    if first != path:
                        header.type, header.linkname = tarfile.LNKTYPE, first
                content = entry.read() if header.type == tarfile.REGTYPE else b""
                header.size = len(content)
                archive.addfile(header, io.BytesIO(content))

    def _add(self, path: str, entry: Entry) -> None:
        place = canonical(path)
        self.entries[place] = entry
        while (place := place.rpartition("/")[0]) and place not in self.entries:
            self.entries[place] = Entry(tarfile.DIRTYPE, 0o755)


def canonical(path: str) -> str:
    """The path inside the tar of an absolute path: no leading slash, and /lib64/… is usr/lib64/…."""
    place = os.path.normpath(path).lstrip("/")
    return f"usr/{place}" if place.split("/")[0] in MERGED else place


def _header(path: str, entry: Entry) -> tarfile.TarInfo:
    header = tarfile.TarInfo(path)
    header.type, header.mode, header.linkname = entry.kind, entry.mode, entry.target
    header.uid, header.gid = entry.owner
    return header
