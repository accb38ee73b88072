"""What a setting may hold: each rule says it in words, and parses its text or raises ValueError."""

from __future__ import annotations

import re
from dataclasses import field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


Rule = tuple[str, "Callable[[str], Any]"]


def choice(*allowed: str) -> Rule:
    """One of a few words."""

    def parse(text: str) -> str:
        if text not in allowed:
            raise ValueError
        return text

    return f"one of {', '.join(allowed)}", parse


def matching(description: str, pattern: str) -> Rule:
    """A text that the whole pattern fits."""

    def parse(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError
        return text

    return description, parse


def number(description: str, low: float, high: float, kind: type[int | float]) -> Rule:
    """A number from `low` to `high`."""

    def parse(text: str) -> float:
        value = kind(text)
        if not low <= value <= high:
            raise ValueError
        return value

    return description, parse


def _bytes(text: str) -> int:
    """A size with its unit, in bytes."""
    if not re.fullmatch(r"[1-9]\d*[kmg]", text):
        raise ValueError
    return int(text[:-1]) << {"k": 10, "m": 20, "g": 30}[text[-1]]


def _switch(text: str) -> bool:
    """On or off."""
    if text not in {"on", "off"}:
        raise ValueError
    return text == "on"


# Postgres folds unquoted names to lower case and cuts them at 63 bytes (manual 4.1.1); the room left is for
# the suffixes of templates and kept databases.
NAME = matching(
    "a name of 1 to 40 lower-case letters, digits and _, not starting with a digit", r"[a-z_][a-z0-9_]{0,39}"
)
PORT = number("empty or a port from 1 to 65535", 1, 65535, int)
IMAGE = matching("an image reference such as pgvector/pgvector:pg16", r"[\w.\-/:@]+")
SIZE = matching("a size such as 512m or 2g", r"[1-9]\d*[kmg]")
BYTES = ("a size such as 512m or 2g", _bytes)
SWITCH = ("on or off", _switch)
REDIS_SIZE = matching("a size such as 256mb, or 0 for no limit", r"0|[1-9]\d*(kb|mb|gb)")
SECONDS = number("seconds from 1 to 3600", 1, 3600, float)
COUNT = number("a whole number from 0 to 10000", 0, 10_000, int)
HOURS = number("empty or hours from 0.1 to 10000", 0.1, 10_000, float)
# Both servers read passwords from files of one line, and psql's password file gives : and \ a meaning.
SECRET = matching(
    "a password of 8 to 128 printable characters without spaces, quotes, : or \\", r"[!#-&(-9;-\[\]-~]{8,128}"
)
_KEY = r"age1[0-9a-z]{20,}|ssh-(?:ed25519|rsa) [A-Za-z0-9+/]{40,}={0,2}"


def _recipients(text: str) -> tuple[str, ...]:
    """Public keys separated by commas or spaces; an SSH key may be followed by its comment."""
    keys = re.findall(_KEY, text)
    rest = re.sub(rf"(?:{_KEY})(?:[ ]+(?!age1|ssh-)[^\s,]+)*", "", text)
    if not keys or rest.strip(", \t"):
        raise ValueError
    return tuple(dict.fromkeys(keys))


RECIPIENTS = ("public keys (age1…, ssh-ed25519 … or ssh-rsa …) separated by commas", _recipients)
PATH = matching("a path", r"[^\x00-\x1f]+")
SCHEDULERS = ("cron", "systemd", "launchd")
REPOSITORY = matching(
    "s3://bucket/folder, gs://bucket/folder, az://container/folder, file:///folder or a folder's path",
    r"(s3|gs|az)://[^\s/?#@:]+(/[^\s?#]*)?|file:///[^\x00-\x1f]+|(?![\w+.-]+://)[^\x00-\x1f]+",
)
POLICIES = (
    "noeviction",
    *(f"{keys}-{how}" for keys in ("allkeys", "volatile") for how in ("lru", "lfu", "random")),
    "volatile-ttl",
)


def variable(name: str, default: Any, rule: Rule, *, secret: bool = False) -> Any:
    """A dataclass field read from the environment variable `name`; a secret's value is never shown."""
    allowed, parse = rule
    return field(default=default, repr=not secret, metadata={"name": name, "allowed": allowed, "parse": parse})


# What each store's own tools read, as far as the client takes it: it refuses names that it does not know.
STORE_VARIABLES = (
    *(
        f"AWS_{name}"
        for name in (
            "ACCESS_KEY_ID",
            "SECRET_ACCESS_KEY",
            "SESSION_TOKEN",
            "REGION",
            "DEFAULT_REGION",
            "ENDPOINT_URL",
            "ENDPOINT_URL_S3",
            "VIRTUAL_HOSTED_STYLE_REQUEST",
            "CHECKSUM_ALGORITHM",
            "SERVER_SIDE_ENCRYPTION",
            "SSE_KMS_KEY_ID",
            "ROLE_ARN",
            "WEB_IDENTITY_TOKEN_FILE",
        )
    ),
    *(f"GOOGLE_{name}" for name in ("APPLICATION_CREDENTIALS", "SERVICE_ACCOUNT", "SERVICE_ACCOUNT_KEY")),
    *(
        f"AZURE_{name}"
        for name in (
            "STORAGE_ACCOUNT_NAME",
            "STORAGE_ACCOUNT_KEY",
            "STORAGE_SAS_TOKEN",
            "STORAGE_ENDPOINT",
            "STORAGE_USE_EMULATOR",
            "TENANT_ID",
            "CLIENT_ID",
            "CLIENT_SECRET",
        )
    ),
)
