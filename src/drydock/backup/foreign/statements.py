"""What the statements of a dump are about: those that must not, cannot or need not be executed as they stand."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto

_IDENTIFIER = r"""(?:"(?:[^"]|"")+"|[^\s"',;()]+)"""
_QUALIFIED = r"""(?:"[^"]*"|[^\s"',;()])+"""  # quoted parts one by one: a doubled quote is two of them, read in one way
_TEXT = r"""(?:"[^"]*"|[^"])"""  # a character outside double quotes, or all between two of them
_BARE = r"""(?:"[^"]*"|\$(?!\$)|[^"'$])"""  # the same outside string constants
_FLAGS = re.IGNORECASE | re.DOTALL
_LONGEST = 2000  # none of the statements looked at here is longer; a function's body may be
_SHOWN = 72


class Topic(Enum):
    """What is to be done with a statement."""

    EXECUTE = auto()
    SKIP = auto()  # the environment has its own, or it makes no difference here
    OWNER = auto()
    GRANT = auto()
    DEFAULTS = auto()  # rights on objects to come
    EXTENSION = auto()
    SETTING = auto()
    SERVER_WIDE = auto()
    BEGIN = auto()
    COMMIT = auto()
    LARGE_OBJECT = auto()
    DROP = auto()


@dataclass(frozen=True)
class Subject:
    """A statement's topic and the names in it: the roles of a grant, an owner, an extension and its schema."""

    topic: Topic
    names: tuple[str, ...] = ()


def _pattern(text: str) -> re.Pattern[str]:
    for word, meaning in (("NAME", _IDENTIFIER), ("QUALIFIED", _QUALIFIED), ("TEXT", _TEXT), ("BARE", _BARE)):
        text = text.replace(word, meaning)
    return re.compile(text.replace(" ", r"\s+"), _FLAGS)


# The first that fits, in this order.
_RULES: tuple[tuple[re.Pattern[str], Topic], ...] = (
    (_pattern(r"(?:begin|start transaction)\b"), Topic.BEGIN),
    (_pattern(r"(?:commit|end)\b"), Topic.COMMIT),
    (_pattern(r"select (?:pg_catalog\.)?lo_open\b"), Topic.LARGE_OBJECT),
    (_pattern(r"(?:reset|set)(?: local| session)? (?:session authorization|role)(?: default| none)?\Z"), Topic.SKIP),
    (_pattern(r"set(?: local| session)? (?:session authorization|role)(?: to)? '?(NAME)'?\Z"), Topic.OWNER),
    (_pattern(r"set\b|select (?:pg_catalog\.)?set_config\("), Topic.SETTING),
    (_pattern(r"create extension(?: if not exists)? (NAME)(?: with)?(?: schema (NAME))?"), Topic.EXTENSION),
    (_pattern(r"(?:comment on|drop) extension\b"), Topic.SKIP),
    (_pattern(r"comment on (?:database|role|tablespace|language plpgsql)\b"), Topic.SKIP),
    (_pattern(r'create(?: or replace)?(?: trusted)?(?: procedural)? language "?plpgsql\b'), Topic.SKIP),
    (_pattern(r"(?:create|drop|alter) user mapping\b"), Topic.EXECUTE),
    (_pattern(r"((?:create|alter|drop) (?:database|role|user|group|tablespace|system))\b"), Topic.SERVER_WIDE),
    (_pattern(r"alter BARE+ owner to (NAME)\Z"), Topic.OWNER),
    (_pattern(r"(?:grant|revoke) TEXT+ on (?:schema public|database NAME|language plpgsql) (?:to|from)\b"), Topic.SKIP),
    (_pattern(r"(?:grant|revoke) TEXT+ on TEXT+ (?:to|from) (TEXT+)\Z"), Topic.GRANT),
    (_pattern(r"(grant|revoke)\b"), Topic.SERVER_WIDE),
    (_pattern(r"alter default privileges(?: for (?:role|user) (NAME))?"), Topic.DEFAULTS),
    (_pattern(r"drop\b|select (?:pg_catalog\.)?lo_unlink\("), Topic.DROP),
    # As pg_dump --clean writes it; of several actions at once another could be lost with it.
    (
        _pattern(
            r"alter (?:foreign table|table|view|domain|index|type)(?: if exists)?(?: only)? QUALIFIED"
            r"(?: alter(?: column)? QUALIFIED)? drop(?: QUALIFIED)+\Z"
        ),
        Topic.DROP,
    ),
)
_AFTER_ROLES = _pattern(r" (?:with grant option|granted by NAME|cascade|restrict)\Z")


def about(statement: bytes) -> Subject:
    """What a statement is about."""
    if len(statement) > _LONGEST:
        return Subject(Topic.EXECUTE)
    text = statement.decode(errors="replace")
    for pattern, topic in _RULES:
        found = pattern.match(text)
        if found:
            return Subject(topic, _named(topic, found))
    return Subject(Topic.EXECUTE)


def shown(statement: bytes) -> str:
    """A statement's beginning in one line, for people."""
    text = " ".join(statement[: 4 * _SHOWN].decode(errors="replace").split())
    beginning = text.split(" (", 1)[0] if text.lower().startswith(("create table", "copy", "insert")) else text
    return beginning if len(beginning) <= _SHOWN else beginning[: _SHOWN - 1] + "…"


def _named(topic: Topic, found: re.Match[str]) -> tuple[str, ...]:
    if topic is Topic.SERVER_WIDE:
        return (" ".join(found.group(1).upper().split()),)
    if topic is Topic.GRANT:
        return _roles(found.group(1))
    return tuple(_plain(name) for name in found.groups() if name)


def _roles(text: str) -> tuple[str, ...]:
    """The roles at the end of a grant; PUBLIC is no role."""
    while (end := _AFTER_ROLES.search(text)) is not None:
        text = text[: end.start()]
    names = re.findall(rf"(?:group\s+)?({_IDENTIFIER})\s*(?:,|\Z)", text, re.IGNORECASE)
    return tuple(_plain(name) for name in names if name.lower() != "public")


def _plain(name: str) -> str:
    """An identifier as the catalogue has it (manual 4.1.1)."""
    return name[1:-1].replace('""', '"') if name.startswith('"') else name.lower()
