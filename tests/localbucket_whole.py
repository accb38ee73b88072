"""localbucket with S3's answer to an upload that is cut: IncompleteBody, and nothing is kept.

Version 1.2.1 keeps what has come by then as an object, so that a push which was killed amid one would find something
else under its name. Run as a program, with localbucket's own arguments.
"""

from __future__ import annotations

import io
from http import HTTPStatus
from typing import Any

import localbucket

_read_body = localbucket.S3Handler._read_body


def read_whole_body(handler: Any) -> bytes:
    """The body of a request, as long as its header says.

    Raises:
        localbucket.S3Error: where it ends before.
    """
    stream, length = handler.rfile, int(handler.headers.get("Content-Length") or 0)
    sent = stream.read(length)
    if len(sent) < length:
        raise localbucket.S3Error(HTTPStatus.BAD_REQUEST, "IncompleteBody", f"{len(sent)} bytes of {length} came.")
    handler.rfile = io.BytesIO(sent) if length else stream
    try:
        return bytes(_read_body(handler))
    finally:
        handler.rfile = stream


if __name__ == "__main__":
    localbucket.S3Handler._read_body = read_whole_body
    localbucket.main()
