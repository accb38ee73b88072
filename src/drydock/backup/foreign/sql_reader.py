r"""Plain SQL, taken apart as psql does: statements, the rows that follow a COPY, and psql's own commands.

Nothing is executed here. Where a cut is made at a wrong place the server's parser refuses the pieces; what keeps a dump
from doing harm are the rights of the role that it is loaded as, not this.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from drydock.backup.foreign.source import CHUNK, Readable, damaged

if TYPE_CHECKING:
    from collections.abc import Iterator

BOM = b"\xef\xbb\xbf"
_WORD = rb"A-Za-z0-9_$\x80-\xff"
_ALONE = rb"(?<![" + _WORD + rb"])"
_TOKENS = (
    rb"(?P<comment>--[^\n]*)|(?P<block>/\*)|(?P<quote>')|(?P<name>\")|(?P<meta>\\)|(?P<end>;)|(?P<open>\()|(?P<close>\))"
    rb"|(?P<escape>" + _ALONE + rb"[eE]')|(?P<dollar>" + _ALONE + rb"\$(?:[A-Za-z_\x80-\xff][A-Za-z0-9_\x80-\xff]*)?\$)"
)
_TOKEN = re.compile(_TOKENS)
# Only routines may have a body of SQL words, with semicolons of its own (manual, CREATE FUNCTION, sql_body).
_ROUTINE_TOKEN = re.compile(_TOKENS + rb"|(?P<word>" + _ALONE + rb"(?i:begin\s+atomic|case|end)(?![" + _WORD + rb"]))")
_ROUTINE = re.compile(rb"create\s+(?:or\s+replace\s+)?(?:function|procedure)\b", re.IGNORECASE)
# What an INSERT mostly consists of, for the regular expression engine to run over in one go. Loops are unrolled and in
# atomic groups: a possessive group, `(?:…)*+`, matches wrongly in Python before 3.11.5 (python/cpython issue 106052).
_PLAIN = rb"[^'\"\-/\\;$eE]*+"
# Each looks at the next byte: where the buffer ends, that one is still to come.
_IN_PLAIN = rb"[eE](?=[^'])|-(?=[^-])|/(?=[^*])|\$(?=[^A-Za-z_$\x80-\xff])"
_TO_QUOTE = rb"(?>[^'\\]*+(?:(?:\\.|'')[^'\\]*+)*)'"
_ROWS_OF_VALUES = re.compile(rb"(?>%b(?:(?:'[^']*+'|%b)%b)*)" % (_PLAIN, _IN_PLAIN, _PLAIN))
_ROWS_OF_ESCAPED_VALUES = re.compile(rb"(?>%b(?:(?:'%b|%b)%b)*)" % (_PLAIN, _TO_QUOTE, _IN_PLAIN, _PLAIN), re.DOTALL)
_INSERT = re.compile(rb"insert\s", re.IGNORECASE)
_COPY = re.compile(rb"copy\s.+\sfrom\s+stdin\b", re.IGNORECASE | re.DOTALL)
_LINE_END = re.compile(rb"\n|\Z")
_QUOTE, _NAME = re.compile(rb"'"), re.compile(rb'"')
_ESCAPED = re.compile(_TO_QUOTE, re.DOTALL)
_NESTED = re.compile(rb"/\*|\*/")
_BLANK = re.compile(rb"[\s;]*")
_LOOK_AHEAD = 128  # no beginning of a token is longer: names have 63 bytes at most
_END_OF_ROWS = re.compile(rb"\\\.\r?(?:\n|\Z)")
_FRAME = re.compile(rb"-- PostgreSQL database (?:cluster )?dump( complete)?\s*\Z")


@dataclass(frozen=True)
class Statement:
    """One SQL statement without its semicolon; `rows` is True where a COPY's data follows it."""

    text: bytes
    rows: bool = False


@dataclass(frozen=True)
class Command:
    """One of psql's own commands, with its backslash, to the end of its line."""

    text: str


class SqlReader:
    """Reads one script.

    Attributes:
        escapes: True while a backslash in a plain string escapes (standard_conforming_strings = off); the caller
            keeps it as the server has it.
    """

    def __init__(self, stream: Readable) -> None:
        self.escapes = False
        self._stream = stream
        self._buffer = b""
        self._at = 0
        self._ended = False
        self._begun = 0
        while len(self._buffer) < len(BOM) and self._fill():
            pass
        self._at = len(BOM) if self._buffer.startswith(BOM) else 0

    def pieces(self) -> Iterator[Statement | Command]:
        """The script's statements and commands in order; the rows of a COPY are to be read before going on.

        Raises:
            DrydockError: where it ends inside a string, a comment or a COPY's rows, or before pg_dump's last line.
        """
        while self._skip_blanks():
            yield self._piece()
        if self._begun > 0:
            raise damaged("pg_dump's last line, “PostgreSQL database dump complete”, is missing")

    def rows(self) -> Iterator[bytes]:
        r"""The data after a COPY, in blocks, up to the line `\.`, which is taken out.

        Raises:
            DrydockError: where the script ends before that line.
        """
        while True:
            if self._buffer.startswith(b"\\.", self._at):
                self._found(_LINE_END, 0)
                end = _END_OF_ROWS.match(self._buffer, self._at)
                if end:
                    self._at = end.end()
                    return
            found = self._buffer.find(b"\n\\.", self._at)
            last = found if found >= 0 else self._buffer.rfind(b"\n", self._at)
            if last >= 0:
                yield self._take(last + 1 - self._at)
            if found < 0 and not self._fill():
                raise damaged("it ends inside the rows of a table")

    def _piece(self) -> Statement | Command:
        if self._buffer.startswith(b"\\", self._at):
            return self._command()
        length, ending = self._statement()
        text = self._take(length)
        if ending == "meta":
            # psql would send or drop what stands before it; half a statement is nothing to guess at.
            return Command(f"{text[:60].decode(errors='replace').strip()} {self._command().text}")
        self._at += len(ending)
        rows = bool(_COPY.match(text))
        if rows:
            self._skip_line()
        return Statement(text.rstrip(), rows)

    def _command(self) -> Command:
        return Command(self._skip_line().decode(errors="replace").strip())

    def _statement(self) -> tuple[int, str]:
        """How long the statement is that begins here, and what ends it: `;`, `meta` or nothing (the script's end)."""
        offset, depth, nested = 0, 0, 0
        tokens = _ROUTINE_TOKEN if _ROUTINE.match(self._buffer, self._at) else _TOKEN
        fast = bool(_INSERT.match(self._buffer, self._at))
        while True:
            offset = self._over_values(offset) if fast else offset
            found = self._found(tokens, offset)
            if found is None:
                return len(self._buffer) - self._at, ""
            start, offset, kind = found
            if kind == "end" and not depth and not nested:
                return start, ";"
            if kind == "meta":
                return start, "meta"
            if kind in {"open", "close"}:
                # An INSERT's do not count: _over_values runs over most of them, and no semicolon stands between them.
                depth = 0 if fast else max(0, depth + (1 if kind == "open" else -1))
            elif kind == "word" and not depth:
                nested = max(0, nested + self._nesting(start, nested))
            else:
                offset = self._closed(kind, start, offset)

    def _nesting(self, start: int, nested: int) -> int:
        """As psql counts: a body begins with BEGIN ATOMIC, a CASE inside it has an END of its own."""
        initial = self._buffer[self._at + start : self._at + start + 1].lower()
        return {b"b": 1, b"c": 1 if nested else 0, b"e": -1}[initial]

    def _over_values(self, offset: int) -> int:
        pattern = _ROWS_OF_ESCAPED_VALUES if self.escapes else _ROWS_OF_VALUES
        found = pattern.match(self._buffer, self._at + offset)
        return found.end() - self._at if found else offset

    def _closed(self, kind: str, start: int, end: int) -> int:
        """Where what a token opens is over."""
        if kind in {"comment", "end", "word"}:
            return end
        if kind == "block":
            return self._after_block(end)
        if kind == "dollar":
            pattern = re.compile(re.escape(self._buffer[self._at + start : self._at + end]))
        elif kind == "name":
            pattern = _NAME
        else:
            pattern = _ESCAPED if kind == "escape" or self.escapes else _QUOTE
        found = self._found(pattern, end, back=_LOOK_AHEAD if kind == "dollar" else 0)
        if found is None:
            raise damaged("it ends inside a quoted text")
        return found[1]

    def _after_block(self, offset: int) -> int:
        depth = 1
        while depth:
            found = self._found(_NESTED, offset, back=1)
            if found is None:
                raise damaged("it ends inside a comment")
            start, offset, _ = found
            depth += 1 if self._buffer[self._at + start : self._at + start + 1] == b"/" else -1
        return offset

    def _found(self, pattern: re.Pattern[bytes], offset: int, back: int = _LOOK_AHEAD) -> tuple[int, int, str] | None:
        """Search from `offset` on, reading on as needed; start, end and name of what was found, counted from here.

        `back` is how much of a match can stand at the end of what has been read so far without being one yet.
        """
        while True:
            look = pattern.match if pattern is _ESCAPED else pattern.search
            match = look(self._buffer, self._at + offset)
            # What ends where the buffer does could go on.
            if match and (match.end() < len(self._buffer) or self._ended):
                return match.start() - self._at, match.end() - self._at, match.lastgroup or ""
            if self._ended and match is None:
                return None
            if match is None and pattern is not _ESCAPED:
                offset = max(offset, len(self._buffer) - self._at - back)
            self._fill()

    def _skip_blanks(self) -> bool:
        """Go to the next thing that is neither blank nor comment; False at the end."""
        while True:
            blank = _BLANK.match(self._buffer, self._at)
            self._at = blank.end() if blank else self._at
            if len(self._buffer) - self._at < _LOOK_AHEAD and not self._ended:
                self._fill()
            elif self._at == len(self._buffer):
                return False
            elif self._buffer.startswith(b"--", self._at):
                self._note(self._skip_line())
            elif self._buffer.startswith(b"/*", self._at):
                self._take(self._after_block(2))
            else:
                return True

    def _note(self, comment: bytes) -> None:
        frame = _FRAME.match(comment)
        if frame:
            self._begun += -1 if frame.group(1) else 1

    def _skip_line(self) -> bytes:
        found = self._found(_LINE_END, 0)
        return self._take(found[1] if found else 0)

    def _take(self, length: int) -> bytes:
        begin = self._at
        self._at += length
        return self._buffer[begin : self._at]

    def _fill(self) -> bool:
        """Drop what was read and read on, the more the longer the statement is; False at the end."""
        data = self._stream.read(max(CHUNK, len(self._buffer) - self._at))
        if not data:
            self._ended = True
            return False
        self._buffer, self._at = self._buffer[self._at :] + data, 0
        return True
