"""Redaction: the one function that takes secrets out of text before a person or a file sees it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Iterable

MARK: Final = "***"
SHORTEST: Final = 4
"""A known secret of fewer characters would take ordinary words out of every text."""

_ENDING: Final = (
    r"(?:passw(?:or)?d|passphrase|(?<=[_-])pass|pwd|secrets?|token|api[_-]?key|access[_-]?key|private[_-]?key|secret[_-]?key"
    r"|credentials?|authorization|cookie)(?:[_-](?:hash|digest|key|value))?"
)
# A key is secret by how it ends: `db_password`, `X-Api-Key`; `max_tokens` and `password_changed_at` are none.
_KEY: Final = rf"[\w.-]*{_ENDING}"
_QUOTED: Final = r"""'(?:\\.|''|[^'\\])*(?:'|\Z)|"(?:\\.|""|[^"\\])*(?:"|\Z)"""
# A word, or a space that libpq would have escaped, right behind the quote: the value was no quoted one.
_GOES_ON: Final = r"(?:(?:\w|\\\s)(?:\\.|[^\s\\])*)?"
# One or more backslashes before a quote: a document inside a string inside an exception's text.
_ESCAPED: Final = r"""(?P<escape>\\+["']).*?(?:(?<!\\)(?P=escape)|\Z)"""
_BARE: Final = r"(?:\\.|[^\s\\])+"

_TOKEN: Final = re.compile(r"\S+")
_PORT: Final = re.compile(r"\d{1,5}(?:[/?#]|\Z)")
_QUERY: Final = re.compile(rf"(?<=[?&])({_KEY}=)[^&#\s\"'<>]+", re.IGNORECASE)
_AUTHORIZATION: Final = re.compile(r"(\bauthorization\\*[\"']?\s*[:=]\s*\\*[\"']?)(?:\w+\s+)?[^\s\"']+", re.IGNORECASE)
_PAIR: Final = re.compile(
    rf"(?<![\w.-])(?P<key>{_KEY})"
    r"(?P<separator>\\*[\"']?\s*(?:=|:(?!//))\s*|\s+(?='))"
    rf"(?P<prefix>[bru]{{0,2}}(?=\\*[\"']))?(?P<value>(?:{_QUOTED}){_GOES_ON}|{_ESCAPED}|{_BARE})",
    re.IGNORECASE | re.DOTALL,
)
# What SQLAlchemy and Postgres quote of a statement's values: where it begins, within what, and what comes behind it.
# A repr holds no line break, a server's DETAIL may.
_LINE: Final = r"(?P<rest>[^\n]*)"
_ALL: Final = r"(?P<rest>.*)"
_QUOTATIONS: Final = tuple(
    (re.compile(rf"(?P<start>{start}){rest}", re.DOTALL), re.compile(end))
    for start, rest, end in (
        (r"\[parameters: ", _LINE, r"\]"),
        # SQLAlchemy's echo: `[generated in 0.00012s] ('ada@acme.example',)`.
        (r"\[(?:generated|cached|no key|raw sql|caching|dialect)\b[^\]\n]{1,80}\] ", _ALL, r"\Z"),
        (
            r"\bKey \([^=\n]{1,500}\)=\(",
            _ALL,
            r"\) (?:already exists|is not present|is still referenced|is duplicated)\b|\)\.(?=\n|\Z)",
        ),
        (r"\bFailing row contains \(", _ALL, r"\)\.(?=\n|\Z)"),
        (r'\binvalid (?:input (?:syntax|value)|byte sequence) for [^:\n]{1,80}: "', _ALL, r'"(?=\n|\Z)'),
    )
)
# What is a secret wherever it stands: bearer and JSON web tokens, the marked tokens of well-known services, verifiers.
_ALONE: Final = (
    (re.compile(r"(\$\d+ = )'(?:''|[^'])*(?:'|\Z)"), rf"\1{MARK}"),  # a portal's parameter
    (re.compile(r"\b(Bearer\s+)[^\s\"']+"), rf"\1{MARK}"),
    (re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]*"), MARK),
    (re.compile(r"\b(?:gh[opsur]_|github_pat_|glpat-|xox[abprs]-|sk[_-]|AKIA|ASIA)[\w-]{16,}"), MARK),
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL), MARK),
    (re.compile(r"(?:SCRAM-SHA-256|\$(?:argon2\w*|scrypt|2[abxy]|pbkdf2[\w-]*))\$[^\s\"']+"), MARK),
)
# Replaced before: the punctuation behind it is not the secret's, nor are the next parameters of a URL.
_DONE: Final = re.compile(rf"{re.escape(MARK)}(?:[,;.)\]}}\"'\\]*\Z|&)")
_SECRET_NAME: Final = re.compile(rf"{_KEY}\Z", re.IGNORECASE)


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """`text` with every secret replaced by `***`; text that holds none comes back unchanged.

    Recognised are passwords in URLs (percent-encoded, or raw with anything but white space), values of keys such as
    `password`, `token` or `api_key` in URLs, libpq connection strings, JSON, Python reprs and SQL, also quoted inside
    one another; bearer and JSON web tokens, password verifiers; and bound values that SQLAlchemy and Postgres quote in
    their messages. Where it is unclear where a secret ends, more is taken rather than less.

    Args:
        text: a message, a traceback, a URL, anything.
        secrets: values of at least four characters known to be secret, replaced wherever they stand, percent-encoded
            ones too.
    """
    for secret in sorted((known for known in secrets if len(known) >= SHORTEST), key=len, reverse=True):
        text = text.replace(secret, MARK).replace(quote(secret, safe=""), MARK)
    if "://" in text:
        text = _TOKEN.sub(lambda found: _without_password(found[0]), text)
    text = _QUERY.sub(rf"\1{MARK}", text)
    for pattern, end in _QUOTATIONS:
        text = pattern.sub(lambda found, end=end: _quotation(found, end), text)  # type: ignore[misc]
    for pattern, replacement in _ALONE:
        text = pattern.sub(replacement, text)
    return _PAIR.sub(_pair, _AUTHORIZATION.sub(rf"\1{MARK}", text))


def redact_value(value: Any, secrets: Iterable[str] = ()) -> Any:
    """`value` with every string in it redacted, and what stands under a secret name replaced altogether.

    Mappings, lists, tuples and sets are followed; numbers, booleans and None stay; anything else becomes its redacted
    text, as logs and JSON need it.
    """
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {
            str(name): MARK if is_secret_name(str(name)) and item else redact_value(item, secrets)
            for name, item in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [redact_value(item, secrets) for item in value]
    return redact(str(value), secrets)


def is_secret_name(name: str) -> bool:
    """True where a field, variable or header of this name holds a secret."""
    return _SECRET_NAME.match(name) is not None


def _pair(found: re.Match[str]) -> str:
    if _DONE.match(found["value"]):
        return found[0]
    return f"{found['key']}{found['separator']}{MARK}"


def _quotation(found: re.Match[str], end: re.Pattern[str]) -> str:
    """A quotation up to its last possible end; where it was cut off, all the rest."""
    ends = [match.start() for match in end.finditer(found["rest"])]
    return found["start"] + MARK + (found["rest"][ends[-1] :] if ends else "")


def _without_password(word: str) -> str:
    """One word with the password of its URL replaced: all from the user's colon to the word's last @.

    A search by hand, as a pattern for it takes quadratic time on long words.
    """
    start, end = word.find("://"), word.rfind("@")
    while 0 <= start < end:
        colon = _end_of_user(word, start + len("://"))
        web = word[:start].lower().endswith(("http", "https", "ws", "wss"))
        if colon < end and word[colon] == ":" and not (web and _PORT.match(word, colon + 1)):
            return f"{word[: colon + 1]}{MARK}{word[end:]}"
        start = word.find("://", start + 1)
    return word


def _end_of_user(word: str, start: int) -> int:
    return next((n for n in range(start, len(word)) if word[n] in ":@/?#"), len(word) - 1)
