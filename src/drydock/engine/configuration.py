"""What the servers are configured with: rendered copies of the compose folder's files, and the secrets as files.

Copies, because a container's server runs as uid 999 and a checkout made under umask 077 would be unreadable to it.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from drydock.checkout import HOST
from drydock.engine import POSTGRES
from drydock.errors import DrydockError
from drydock.files import write_atomic

if TYPE_CHECKING:
    from drydock.checkout import Checkout
    from drydock.settings import Settings

SERVER_FILES = ("postgres/postgresql.conf", "postgres/pg_hba.conf", "redis/redis.conf")
# What the servers that tests share are told on top, by file: a crash loses all they have, and that is no loss.
# Each database there lives for seconds: statistics come with its template, and a worker of autovacuum that looks into
# a template holds its clones up. scram_iterations: the passwords are random, so that stretching them (2 ms for each
# connection) protects nothing.
THROWAWAY = {
    "postgresql.conf": """
fsync = off
synchronous_commit = off
full_page_writes = off
wal_level = minimal
max_wal_senders = 0
max_wal_size = 512MB
wal_recycle = off
wal_init_zero = off
checkpoint_timeout = 1h
log_checkpoints = off
autovacuum = off
scram_iterations = 1
shared_buffers = 128MB
max_connections = 400
""",
    "redis.conf": """
appendonly no
save ""
databases 4096
""",
}


def compose_folder(settings: Settings) -> Path:
    """The checkout's own compose folder where it has one, else the one that comes with drydock."""
    package = Path(__file__).parents[1]
    candidates = (settings.root / "compose", package / "compose", package.parents[1] / "compose")
    for folder in candidates:
        if (folder / "compose.yaml").exists() and (folder / "postgres" / "postgresql.conf").exists():
            return folder
    raise DrydockError(f"drydock's compose folder is missing beside {package}.", hint="Install drydock again.")


def render(checkout: Checkout) -> Path:
    """Write `.drydock/config` and `.drydock/secrets`; returns the former.

    Files whose content has not changed are left alone, so that a running server sees no change.

    Raises:
        DrydockError: where the compose folder is incomplete.
    """
    settings = checkout.settings
    source, config, secrets = compose_folder(settings), settings.folder / "config", settings.folder / "secrets"
    config.mkdir(mode=0o755, exist_ok=True)
    secrets.mkdir(mode=0o700, exist_ok=True)
    for name in SERVER_FILES:
        file = Path(name).name
        more = THROWAWAY.get(file, "") if settings.throwaway else ""
        _write(config / file, (source / name).read_text(encoding="utf-8") + more, 0o644)
    _copy_scripts(source / "postgres" / "initdb.d", config / "initdb.d")
    for name, text in _secrets(checkout, (config / "redis.conf").read_text(encoding="utf-8")).items():
        _write(secrets / name, text, 0o600)
    return config


def digest(checkout: Checkout, *more: str) -> str:
    """Hash of everything a server is started with: a different one means that `up` has to start it again."""
    folder = compose_folder(checkout.settings)
    result = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        result.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes())
    for text in (*_secrets(checkout, "").values(), *more):
        result.update(text.encode() + b"\0")
    return result.hexdigest()


def _secrets(checkout: Checkout, redis_configuration: str) -> dict[str, str]:
    settings = checkout.settings
    limits = f"maxmemory {settings.redis_maxmemory}\nmaxmemory-policy {settings.redis_maxmemory_policy}\n"
    return {
        "postgres_password": settings.postgres_password,
        # The container's side: the health check and psql connect to 127.0.0.1:5432 there. Replication has no
        # database name of its own, so the third field is a star.
        "pgpass": "".join(
            f"127.0.0.1:5432:*:{role.name}:{role.password}\n"
            for role in (checkout.superuser, checkout.owner, checkout.app, checkout.backup, checkout.replication)
        ),
        # The archiver's side: the server by its name in the containers' network, or on whatever port of this machine.
        "pgpass_archiver": "".join(
            f"{server}:*:{checkout.replication.name}:{checkout.replication.password}\n"
            for server in (f"{POSTGRES}:5432", f"{HOST}:*")
        ),
        "redis_password": settings.redis_password,
        "redis.conf": f"{redis_configuration}\nrequirepass {settings.redis_password}\n{limits}",
    }


def _write(path: Path, text: str, mode: int) -> None:
    if path.exists() and path.read_text(encoding="utf-8") == text:
        path.chmod(mode)
    else:
        write_atomic(path, text, mode=mode, durable=False)


def _copy_scripts(source: Path, target: Path) -> None:
    """Initialisation scripts keep their execute bit: it decides between running and sourcing them."""
    target.mkdir(mode=0o755, exist_ok=True)
    scripts = (
        [path for path in source.iterdir() if path.is_file() and not path.name.startswith(".")]
        if source.is_dir()
        else []
    )
    for stale in {path.name for path in target.iterdir()} - {path.name for path in scripts}:
        (target / stale).unlink()
    for script in scripts:
        shutil.copyfile(script, target / script.name)
        (target / script.name).chmod(0o755 if script.stat().st_mode & 0o100 else 0o644)
