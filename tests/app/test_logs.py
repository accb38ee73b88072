from __future__ import annotations

import io
import json
import logging
import warnings
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import create_engine, text

from app.logs import JsonFormatter, ReadableFormatter, configure_logging, known_secrets, log_fields, report
from app.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SECRET = "correct-horse-battery"
URL = f"postgresql://app:{SECRET}@db.example/app"


class Output:
    """What a configured process wrote."""

    def __init__(self, app_env: str, **values: Any) -> None:
        self.stream = io.StringIO()
        settings = Settings(app_env=app_env, database_url=URL, database_ssl="verify-full", **values)
        configure_logging(settings, self.stream)

    @property
    def text(self) -> str:
        """All of it."""
        return self.stream.getvalue()

    @property
    def documents(self) -> list[dict[str, Any]]:
        """Each line's document."""
        return [json.loads(line) for line in self.text.splitlines()]


@pytest.fixture
def output() -> Iterator[Callable[..., Output]]:
    """Configured logging, alone on the root logger; what was before is there again afterwards."""
    root, engine = logging.getLogger(), logging.getLogger("sqlalchemy.engine")
    before = list(root.handlers), root.level, engine.level

    def configured(app_env: str, **values: Any) -> Output:
        root.handlers[:] = [handler for handler in root.handlers if type(handler).__module__ == "app.logs"]
        return Output(app_env, **values)

    yield configured
    root.handlers[:], level, engine_level = before
    root.setLevel(level)
    engine.setLevel(engine_level)
    logging.captureWarnings(capture=False)


def connect() -> None:
    """An error whose text holds a URL."""
    raise OSError(f"cannot reach redis://:{SECRET}@cache/0")


def raise_nested() -> None:
    """An error with another one as its cause."""
    try:
        connect()
    except OSError as error:
        raise RuntimeError(f"password={SECRET} was refused") from error


def test_a_line_has_all_that_a_search_needs(output: Callable[..., Output]) -> None:
    """Time in UTC, level, logger, message and fields; one line whatever the text."""
    written = output("production")
    logging.getLogger("shop.orders").warning("late by\n%d s\u2028", 3, extra={"order": 7, "lines": [1, 2]})
    (document,) = written.documents
    assert abs((datetime.fromisoformat(document.pop("time")) - datetime.now(UTC)).total_seconds()) < 60
    assert document == {
        "level": "WARNING",
        "logger": "shop.orders",
        "message": "late by\n3 s\u2028",
        "fields": {"order": 7, "lines": [1, 2]},
    }


@pytest.mark.parametrize("app_env", ["development", "production"])
def test_no_part_of_a_record_shows_a_secret(output: Callable[..., Output], app_env: str) -> None:
    """Message, arguments, fields, fields of the context, exception, its cause, stack, and arguments that do not fit."""
    written = output(app_env)
    logger = logging.getLogger("shop")
    with log_fields(dsn=f"host=db password={SECRET}"):
        logger.info("connecting to %s", URL)
        logger.info("%(password)s", {"password": "unknown-to-settings"})
        logger.info("plainly %s", SECRET, extra={"api_key": "unknown-to-settings", "nested": {"token": "unknown-to"}})
        logger.info("%d rows from %s", "three", URL, stack_info=True)
        try:
            raise_nested()
        except RuntimeError:
            logger.exception("failed with %s", SECRET)
    assert written.text.count("***") >= 10
    assert "RuntimeError" in written.text
    assert SECRET not in written.text
    assert "unknown-to" not in written.text


@given(st.text(), st.lists(st.text() | st.integers() | st.binary()))
def test_any_record_is_one_line_of_json(message: str, arguments: list[Any]) -> None:
    """Broken formats, control characters and lone surrogates included."""
    record = logging.LogRecord("any", logging.INFO, "file", 1, message, tuple(arguments), None)
    line = JsonFormatter().format(record)
    assert len(line.splitlines()) == 1
    assert json.loads(line)["logger"] == "any"
    assert ReadableFormatter().format(record)


def test_development_reads_well(output: Callable[..., Output]) -> None:
    """A developer sees words, not JSON."""
    written = output("development")
    logging.getLogger("shop").info("stored", extra={"rows": 3})
    assert written.text[13:] == "INFO    shop: stored  rows=3\n"


def test_fields_end_with_their_block(output: Callable[..., Output]) -> None:
    """Fields nest, and leave nothing behind."""
    written = output("staging")
    with log_fields(request="7f3a"):
        with log_fields(step=2):
            logging.getLogger("shop").info("inner")
        logging.getLogger("shop").info("outer")
    logging.getLogger("shop").info("after")
    inner, outer, after = (line.get("fields") for line in written.documents)
    assert (inner, outer, after) == ({"request": "7f3a", "step": 2}, {"request": "7f3a"}, None)


def test_configuring_twice_logs_once(output: Callable[..., Output]) -> None:
    """The second call replaces the first one's handler."""
    first, second = output("production"), output("production")
    logging.getLogger("shop").info("once")
    assert (first.text, len(second.documents)) == ("", 1)


def test_warnings_are_logged(output: Callable[..., Output]) -> None:
    """Python's warnings go the same way, with the same redaction."""
    written = output("production")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        warnings.warn(f"old option in {URL}", DeprecationWarning, stacklevel=1)
    assert written.documents[0]["logger"] == "py.warnings"
    assert SECRET not in written.text


@pytest.mark.parametrize(("echo", "lines"), [(True, 1), (False, 0)])
def test_statements_are_logged_without_their_values(
    output: Callable[..., Output], capsys: pytest.CaptureFixture[str], lines: int, *, echo: bool
) -> None:
    """With DB_ECHO, which settings allow in development only; SQLAlchemy's own printing is off."""
    written = output("development", db_echo=echo)
    with create_engine("sqlite://", echo=echo).connect() as connection:
        connection.execute(text("SELECT :email"), {"email": "ada@acme.example"})
    assert written.text.count("SELECT ?") == written.text.count("] ***") == lines
    assert "ada" not in written.text
    assert capsys.readouterr().out == ""


def test_production_errors_carry_an_id(output: Callable[..., Output]) -> None:
    """Outside there is an id and nothing else; the log has the details under it."""
    written = output("production")
    told = report(ZeroDivisionError("the internals"), production=True)
    assert told.error_id in told.message
    assert "internals" not in told.message
    (document,) = written.documents
    assert document["error_id"] == told.error_id
    assert "the internals" in document["exception"]


def test_development_errors_say_what_happened(output: Callable[..., Output]) -> None:
    """A developer is told at once, without secrets."""
    output("development")
    assert report(OSError(f"no {URL}"), production=False).message == "OSError: no postgresql://app:***@db.example/app"


def test_known_secrets_are_the_passwords_in_urls() -> None:
    """Percent-encoded ones as they are typed; a URL without a password has none."""
    settings = Settings(database_url="postgresql://app:p%40ss-word@db/app", redis_url="redis://cache/0")
    assert known_secrets(settings) == {"p@ss-word"}
