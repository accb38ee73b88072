"""Logs: one JSON object a line, readable lines in development, no secret in either, and ids for errors.

Any library's record passes through here once `configure_logging` has run; `logger.info("…", extra={"rows": 3})` adds
fields, `with log_fields(request="7f3a"):` adds them to all that is logged inside, in a thread or an async task.
"""

from __future__ import annotations

import json
import logging
import secrets
import sys
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TextIO
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr

from app.redaction import MARK, is_secret_name, redact, redact_value

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from app.settings import Settings

_LOGGER = logging.getLogger(__name__)
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "error_id"}
_FIELDS: ContextVar[Mapping[str, Any]] = ContextVar("log_fields", default={})  # noqa: B039 - never changed in place


@dataclass(frozen=True)
class PublicError:
    """What a caller outside may be told of an error.

    Attributes:
        error_id: stands in the log beside the details.
        message: one sentence; in production it has nothing but the id.
    """

    error_id: str
    message: str


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON in ASCII: time (UTC), level, logger, message, fields, error_id, exception.

    Args:
        known: secret values that are replaced wherever they stand.
    """

    def __init__(self, known: frozenset[str] = frozenset()) -> None:
        super().__init__()
        self._known = known

    def format(self, record: logging.LogRecord) -> str:
        """The record's line, without secrets."""
        document = {
            "time": _time(record),
            "level": record.levelname,
            "logger": record.name,
            "message": redact(_message(record), self._known),
            "fields": redact_value(_fields(record), self._known),
            "error_id": getattr(record, "error_id", None),
            "exception": redact(_exception(self, record), self._known),
        }
        return json.dumps({name: value for name, value in document.items() if value or name == "message"})


class ReadableFormatter(logging.Formatter):
    """A record for people: time (UTC), level, logger, message and fields, then the exception below.

    Args:
        known: secret values that are replaced wherever they stand.
    """

    def __init__(self, known: frozenset[str] = frozenset()) -> None:
        super().__init__()
        self._known = known

    def format(self, record: logging.LogRecord) -> str:
        """The record's text, without secrets."""
        fields = _fields(record)
        if error_id := getattr(record, "error_id", None):
            fields["error_id"] = error_id
        shown = "".join(f"  {name}={value}" for name, value in redact_value(fields, self._known).items())
        message = redact(_message(record), self._known)
        first = f"{_time(record)[11:-1]} {record.levelname:<8}{record.name}: {message}{shown}"
        below = redact(_exception(self, record), self._known)
        return f"{first}\n{below}" if below else first


class _Handler(logging.StreamHandler[TextIO]):
    """The one handler of the root logger that is ours, so that configuring twice does not log twice."""


def configure_logging(settings: Settings, stream: TextIO | None = None) -> None:
    """Send every record of this process to `stream`, without secrets; called once where a process begins.

    Statements are logged with DB_ECHO, which settings allow in development only.

    Args:
        settings: development gets readable lines, all else JSON; its secrets are taken out of every text.
        stream: standard error by default.
    """
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, _Handler)]:
        root.removeHandler(handler)
    handler = _Handler(stream or sys.stderr)
    kind = ReadableFormatter if settings.app_env == "development" else JsonFormatter
    handler.setFormatter(kind(known_secrets(settings)))
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    logging.getLogger("sqlalchemy.engine").setLevel(logging.INFO if settings.db_echo else logging.WARNING)
    # With echo=True SQLAlchemy prints statements and their values itself where this logger has no handler.
    logging.getLogger("sqlalchemy.engine.Engine").handlers[:] = [logging.NullHandler()]
    logging.captureWarnings(capture=True)


@contextmanager
def log_fields(**fields: Any) -> Iterator[None]:
    """Add fields to every record that is logged inside, here and in tasks started here."""
    token = _FIELDS.set({**_FIELDS.get(), **fields})
    try:
        yield
    finally:
        _FIELDS.reset(token)


def report(error: BaseException, *, production: bool) -> PublicError:
    """Log an error with its traceback under a new id, and return what may be told of it."""
    error_id = secrets.token_hex(6)
    _LOGGER.error("%s", type(error).__name__, exc_info=error, extra={"error_id": error_id})
    if production:
        return PublicError(error_id, f"An internal error occurred; the log has its details under {error_id}.")
    return PublicError(error_id, redact(f"{type(error).__name__}: {error}"))


def known_secrets(settings: Settings) -> frozenset[str]:
    """The passwords in the settings' URLs, and every other secret value whole."""
    values = [value.get_secret_value() for _, value in settings if isinstance(value, SecretStr)]
    return frozenset(filter(None, map(_password, values)))


def _password(value: str) -> str:
    if "://" not in value:
        return value
    try:
        return unquote(urlsplit(value).password or "")
    except ValueError:  # no URL after all
        return value


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _message(record: logging.LogRecord) -> str:
    """The formatted message; where format and arguments do not fit, both, as logging would else print them raw."""
    args = record.args
    if isinstance(args, dict):
        args = {name: MARK if is_secret_name(str(name)) else value for name, value in args.items()}
    try:
        return str(record.msg) % args if args else str(record.msg)
    except (TypeError, ValueError, KeyError):
        return f"{record.msg!s} {redact_value(args)}"


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    own = {name: value for name, value in vars(record).items() if name not in _STANDARD}
    return {**_FIELDS.get(), **own}


def _exception(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    """The traceback, formatted here: another handler's cached text may hold more than ours."""
    parts = [formatter.formatException(record.exc_info)] if record.exc_info and record.exc_info[0] else []
    if record.stack_info:
        parts.append(formatter.formatStack(record.stack_info))
    return "\n".join(parts)
