"""The checkout's .env: made from .env.example on first use, with random passwords, readable by its owner only."""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING

from drydock.engine.configuration import compose_folder
from drydock.files import write_atomic
from drydock.settings import SECRETS, read_dotenv

if TYPE_CHECKING:
    from pathlib import Path

    from drydock.settings import Settings

PASSWORD_BYTES = 24


def ensure(settings: Settings) -> str:
    """Write what is missing of .env; returns a note for the user, empty where nothing was.

    A .env that a project already has keeps every line of it; missing passwords are filled in or added at its end.
    """
    path = settings.dotenv
    known = read_dotenv(path)
    missing = [name for name in SECRETS if not known.get(name) and not _from_environment(settings, name)]
    if path.exists() and not missing:
        return ""
    text = path.read_text(encoding="utf-8") if path.exists() else example(settings).read_text(encoding="utf-8")
    write_atomic(path, fill(text, missing))
    return f"added {', '.join(missing)} to .env" if known else f"wrote {path.name} with random passwords"


def fill(text: str, names: list[str]) -> str:
    """`text` with a random value for every variable of `names`, in its place where it has one."""
    for name in names:
        line = f"{name}={secrets.token_urlsafe(PASSWORD_BYTES)}"
        text, found = re.subn(rf"^{name}=.*$", line, text, count=1, flags=re.MULTILINE)
        if not found:
            text = text + ("" if text.endswith("\n") or not text else "\n") + line + "\n"
    return text


def assignment(name: str, value: str) -> str:
    """The line that gives a variable this value, quoted only where it has to be."""
    if re.search(r"""^['"\s]|\s#|\s$""", value):
        value = "'" + re.sub(r"[\\']", r"\\\g<0>", value) + "'"
    return f"{name}={value}"


def example(settings: Settings) -> Path:
    """The checkout's own .env.example where it knows drydock's variables, else the one that comes with drydock."""
    own = settings.root / ".env.example"
    if own.exists() and "POSTGRES_APP_PASSWORD" in own.read_text(encoding="utf-8"):
        return own
    folder = compose_folder(settings)
    packaged = folder / "env.example"
    return packaged if packaged.exists() else folder.parent / ".env.example"


def _from_environment(settings: Settings, name: str) -> bool:
    """True where the process environment gives the password: it needs no line in the file."""
    attribute = {
        "POSTGRES_PASSWORD": "postgres_password",
        "POSTGRES_OWNER_PASSWORD": "owner_password",
        "POSTGRES_APP_PASSWORD": "app_password",
        "POSTGRES_BACKUP_PASSWORD": "backup_password",
        "POSTGRES_REPLICATION_PASSWORD": "replication_password",
        "REDIS_PASSWORD": "redis_password",
    }[name]
    return bool(getattr(settings, attribute))
