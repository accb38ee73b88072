"""Whether two definitions say the same: a server may word an object otherwise than the one that it was read from.

What the parser makes of `(ARRAY['a'::character varying])::text[]` is worded `ARRAY[('a'::character varying)::text]`:
a check of `varchar IN (…)` has one wording where it was written by hand, and the other after every dump and restore.
"""

from __future__ import annotations

import re

_CAST_ARRAY = "(ARRAY["
# Words of a type's name, qualified or quoted, with its modifier; more dimensions are worded like one (manual 8.15.1).
_NAME = r'(?:"(?:[^"]|"")+"|[a-z_][\w$]*)'
_TYPE = rf"{_NAME}(?:[ .]{_NAME})*(?:\([\d, ]+\))?(?: (?:with|without) time zone)?"
_OF_ARRAY = re.compile(rf"\)::({_TYPE})\[\]")
_CAST = re.compile(rf"::{_TYPE}(?:\[\])*")
# Strings with doubled quotes, or escapes; names; and the rest by single characters.
_TOKEN = re.compile(r"""[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'|"(?:[^"]|"")*"|.""", re.DOTALL)
_OPENING, _CLOSING = "([", ")]"


def alike(ours: str, theirs: str, *, exact: bool = False) -> bool:
    """True where two definitions differ in nothing that decides, going by what servers are known to word in two ways.

    That is casts of arrays; and unless `exact`, parentheses, casts and white space, which a server adds to what it
    reads, or leaves out. Against anything else the dump that they come from is proven by its hashes.
    """
    if ours == theirs:
        return True
    one, other = canonical(ours), canonical(theirs)
    return one == other or (not exact and _bare(one) == _bare(other))


def canonical(text: str) -> str:
    """The definition with every cast of an array written as casts of its elements."""
    tokens, written, position = _TOKEN.findall(text), "", 0
    while position < len(tokens):
        found = _cast_array(tokens, position)
        if found:
            position, rewritten = found
            written += rewritten
        else:
            written += tokens[position]
            position += 1
    return written


def _cast_array(tokens: list[str], position: int) -> tuple[int, str] | None:
    """Where a cast array begins here: the position behind it, and what it is written as."""
    inside = position + len(_CAST_ARRAY)
    if tokens[position:inside] != list(_CAST_ARRAY):
        return None
    elements, end = _elements(tokens, inside)
    behind = "".join(tokens[end : end + 200])
    kind = _OF_ARRAY.match(behind)
    if not kind:
        return None
    written = ", ".join(f"({canonical(element.strip())})::{kind[1]}" for element in elements)
    return end + len(_TOKEN.findall(kind[0])), f"ARRAY[{written}]"


def _elements(tokens: list[str], begin: int) -> tuple[list[str], int]:
    """The elements of an array whose bracket is open, and the position behind the bracket that closes it."""
    elements, depth, position = [""], 1, begin
    while position < len(tokens) and depth:
        piece = tokens[position]
        depth += (piece in _OPENING) - (piece in _CLOSING)
        position += 1
        if depth == 1 and piece == ",":
            elements.append("")
        elif depth:
            elements[-1] += piece
    return elements, position


def _bare(text: str) -> str:
    """Without casts, parentheses and white space, but for those within strings and quoted names."""
    kept, plain = "", ""
    for token in _TOKEN.findall(text):
        if len(token) == 1:
            plain += token
            continue
        kept, plain = f"{kept}{_stripped(plain)}{token}", ""
    return kept + _stripped(plain)


def _stripped(plain: str) -> str:
    return re.sub(r"[()\s]", "", _CAST.sub("", plain))
