from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.redaction import MARK, is_secret_name, redact, redact_value

if TYPE_CHECKING:
    from collections.abc import Callable


def url(secret: str) -> str:
    """As RFC 3986 has it in a URL."""
    return quote(secret, safe="")


def bare(secret: str) -> str:
    """As libpq has it in a connection string without quotes; such a value begins with none."""
    return re.sub(r"([\s'\\])", r"\\\1", secret.lstrip("'\"\\"))


def libpq(secret: str) -> str:
    """As libpq has it in a quoted value."""
    return "'" + re.sub(r"(['\\])", r"\\\1", secret) + "'"


def doubled(secret: str) -> str:
    """As SQL has it in a literal."""
    return "'" + secret.replace("'", "''") + "'"


def nested(secret: str) -> str:
    """As it stands in a JSON document inside a string of another one."""
    return json.dumps(json.dumps(secret))[1:-1]


# Where § stands is the secret, written as the shape's own rules have it; § becomes *** and all else stays.
SHAPES: dict[str, tuple[str, Callable[[str], str]]] = {
    "url": ("connecting to postgresql+psycopg://app:§@db.example:5432/app?sslmode=require", url),
    "url without user": ("redis://:§@127.0.0.1:6379/0 is gone", url),
    "two urls": ('{"a": "amqp://d:§@e/f", "b": "https://g:§@h"}', url),
    "url query": ("https://api.example:8443/v1?limit=5&token=§&page=2#top", url),
    "dsn": ("host=db password=§ dbname=app", bare),
    "quoted dsn": ("host=db password = § dbname=app", libpq),
    "dsn in an exception": ('OperationalError("connection to host=db sslpassword=§ port=1 failed")', bare),
    "sql": ("ALTER ROLE app LOGIN PASSWORD § VALID UNTIL 'infinity'", doubled),
    "json": ('{"user": "ada", "password": §, "port": 5432}', json.dumps),
    "nested json": (r'{"event": "{\"client_secret\": §, \"port\": 5432}", "line": 3}', nested),
    "repr": ("Settings(database={'password': §, 'port': 5432}, api_key=§ , name='x')", repr),
    "repr of bytes": ("{'X-Api-Key': §, 'port': 1}", lambda secret: repr(secret.encode())),
    "statement": ("(Oops) no\n[SQL: SELECT %s]\n[parameters: §]\n(Background on this", lambda s: repr({"x": (s, 1)})),
    "echo": ("[generated in 0.00021s] §", lambda secret: repr((secret, 1))),
    "unique": ("DETAIL:  Key (organization_id, lower(email))=(§) already exists.\nCONTEXT:  x", "1, {}".format),
    "foreign key": ('DETAIL:  Key (parent)=(§) is not present in table "parents".', str),
    "check": ("DETAIL:  Failing row contains (§).\nCONTEXT:  none", "1, {}, null".format),
    "syntax": ('invalid input syntax for type uuid: "§"', str),
    "portal": ("CONTEXT:  unnamed portal with parameters: $1 = §, $2 = §", doubled),
}
CANARIES = ("kAn1", "kAn2", "kAn3")
ANY = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="§"))
# Without quotes, backslashes and brackets: where these end a secret cannot be told, more may be taken than the secret.
PLAIN = st.text("abcXYZ019!#%^&*()-_+.,;:/?~|@", min_size=8)


def alive(text: str) -> list[str]:
    """The pieces of a secret that are still there."""
    return [canary for canary in CANARIES if canary in text]


@pytest.mark.parametrize("shape", SHAPES)
@given(first=ANY, second=ANY)
def test_a_secret_never_survives(shape: str, first: str, second: str) -> None:
    """Whatever the secret is, in whichever shape: neither its beginning nor its middle nor its end is left."""
    template, write = SHAPES[shape]
    secret = second + first.join(CANARIES[:2]) + second + CANARIES[2] + first
    assert alive(redact(template.replace("§", write(secret)))) == []


@pytest.mark.parametrize("shape", SHAPES)
@given(secret=PLAIN)
@example(secret='two words\' "quoted"')
@example(secret="p@ss:w/rd?#&=,;)]}")
def test_the_rest_stays(shape: str, secret: str) -> None:
    """No other character is taken."""
    template, write = SHAPES[shape]
    assert redact(template.replace("§", write(secret))) == template.replace("§", MARK)


@given(text=st.text(st.characters(exclude_categories=["Cs", "Z", "Cc"])))
@example(text="a://b:c@d")
@example(text="1234/abc'def\"@")
def test_a_raw_password_in_a_url_is_gone(text: str) -> None:
    """People forget to percent-encode; what is quoted of their URL must not have the password either."""
    assert alive(redact(f"cannot parse 'postgresql://app:{text.join(CANARIES)}@db/app'")) == []


@given(secret=st.text('ab "', min_size=8))
def test_an_unquoted_value_that_looks_quoted_is_gone(secret: str) -> None:
    """To libpq a double quote is a character like any other; more than the value may be taken here."""
    assert redact("password=" + bare("x" + secret).replace("x", '"', 1)) == f"password={MARK}"


@given(secret=st.text(), before=st.text(), after=st.text())
def test_a_known_secret_is_gone_from_any_text(secret: str, before: str, after: str) -> None:
    """Given the values, no shape is needed."""
    known = secret.join(CANARIES)
    assert alive(redact(f"{before}{known}{after}", [known])) == []


@given(PLAIN, st.sampled_from(sorted(SHAPES)))
def test_redacting_twice_changes_nothing(text: str, shape: str) -> None:
    """Text passes through several layers on its way."""
    template, write = SHAPES[shape]
    once = redact(template.replace("§", write(text)))
    assert redact(once) == once


@given(st.text(st.sampled_from("abc XYZ019 .,;:!?/@#%&()[]{}<>'\"\\\n\t-+*=_$")))
def test_text_without_secrets_stays(text: str) -> None:
    """Without a secret's name, a URL with a user, or a quoted parameter there is nothing to take."""
    if "://" not in text:
        assert redact(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        'FATAL:  password authentication failed for user "app"',
        "postgresql://app@127.0.0.1:5432/app",
        "https://example.com:8443/path/@scope/package?email=a@b.example",
        "redis://127.0.0.1:6379/0 does not answer within 1.0 s",
        "max_tokens=512 tokens: 7 password_changed_at=2026-11-21T00:00:00Z passed=3",
        "connecting to host=db user=app dbname=app sslmode=verify-full",
        "SELECT password_hash, token_id FROM users WHERE id = $1",
        'duplicate key value violates unique constraint "uq_users_email_key"',
    ],
)
def test_ordinary_messages_stay(text: str) -> None:
    """Messages that mention secrets, and have none, stay as they are."""
    assert redact(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Authorization: Bearer abc.def-123", "Authorization: ***"),
        ("authorization='Basic dXNlcjpwYXNz'", "authorization=***"),
        ("got Bearer abc.def-123 instead", "got Bearer *** instead"),
        ("jwt eyJhbGciOi.eyJzdWIiOi.c2lnbmF0dXJl end", "jwt *** end"),
        ("pushed with ghp_0123456789abcdefABCDEF", "pushed with ***"),
        ("hash $scrypt$ln=14,r=8,p=1$c2FsdA$aGFzaA stored", "hash *** stored"),
        ("SCRAM-SHA-256$4096:c2FsdA==$c3RvcmVk:c2VydmVy", "***"),
        ("password='cut off in the mid", "password=***"),
        ("?password='two words'&x=1", "?password=***"),
        ("-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----\n", "***\n"),
    ],
)
def test_other_secrets(text: str, expected: str) -> None:
    """Tokens, verifiers and keys are known by what they look like."""
    assert redact(text) == expected


def test_values_below_secret_names_are_replaced() -> None:
    """Structured fields go by name, at any depth; numbers stay numbers."""
    fields = {"user": {"password": "x", "port": 1}, "urls": ["redis://:pw@h"], "api_key": b"k", "token": None, "n": 1.5}
    assert redact_value(fields) == {
        "user": {"password": MARK, "port": 1},
        "urls": [f"redis://:{MARK}@h"],
        "api_key": MARK,
        "token": None,
        "n": 1.5,
    }


@pytest.mark.parametrize(
    ("name", "secret"),
    [("db_password", True), ("X-Api-Key", True), ("DB_PASS", True), ("bypass", False), ("max_tokens", False)],
)
def test_secret_names(name: str, *, secret: bool) -> None:
    """A name is secret by how it ends."""
    assert is_secret_name(name) is secret
