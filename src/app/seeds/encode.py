"""Values in Postgres' own binary form, made once and sent as they are."""

import json
from struct import pack
from typing import Any

JSONB_VERSION = b"\x01"


def jsonb(value: dict[str, Any]) -> bytes:
    """A jsonb value in binary form: a version byte, then the text."""
    return JSONB_VERSION + json.dumps(value, sort_keys=True).encode()


def vector_header(dimensions: int) -> bytes:
    """What stands before the big-endian float32 values of a pgvector `vector` in binary form."""
    return pack(">HH", dimensions, 0)
