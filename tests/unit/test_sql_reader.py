from __future__ import annotations

import io
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drydock.backup.foreign.sql_reader import Command, SqlReader, Statement
from drydock.errors import DrydockError

NASTY = rb"""-- a comment; with 'quotes
/* nested /* ; */ ; */ SET a = 'x;''y'; SELECT $$a;b$$, $t$ $$ ; $t$, E'it\'s;', "a;""b" ;
\connect shop
CREATE RULE r AS ON INSERT TO t DO (a; b);
CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN 1=1 THEN 2 END; SELECT 2; END;
COPY public.t (a, b) FROM stdin;
1	a;\.
\.x	'
2	\\N
\.
COPY e FROM stdin WITH (FORMAT csv);
\.
INSERT INTO t VALUES ('a;b', e'x\';'), ('date');select date'2020;', $1;
SELECT 1 \gexec
select 'no semicolon'"""


class Drip:
    """A stream that hands out at most so many bytes at a time."""

    def __init__(self, data: bytes, size: int) -> None:
        self.stream = io.BytesIO(data)
        self.size = size

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes, and at most its own."""
        return self.stream.read(min(size, self.size))


def taken_apart(
    script: bytes, *, size: int = 1 << 20, escapes: bool = False
) -> list[bytes | str | tuple[bytes, bytes]]:
    """Statements as bytes, commands as text, and COPYs with their rows."""
    reader = SqlReader(Drip(script, size))
    reader.escapes = escapes
    found: list[bytes | str | tuple[bytes, bytes]] = []
    for piece in reader.pieces():
        if isinstance(piece, Command):
            found.append(piece.text)
        else:
            found.append((piece.text, b"".join(reader.rows())) if piece.rows else piece.text)
    return found


# It failed before Python 3.11.5, as on Debian 12: possessive groups matched wrongly (python/cpython issue 106052).
def test_a_script_is_cut_where_psql_cuts_it() -> None:
    """Quotes of every kind, comments, rules, routines of SQL words, and rows that look like SQL or like their end."""
    assert taken_apart(NASTY) == [
        b"SET a = 'x;''y'",
        b'SELECT $$a;b$$, $t$ $$ ; $t$, E\'it\\\'s;\', "a;""b"',
        "\\connect shop",
        b"CREATE RULE r AS ON INSERT TO t DO (a; b)",
        b"CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN 1=1 THEN 2 END; SELECT 2; END",
        (b"COPY public.t (a, b) FROM stdin", b"1\ta;\\.\n\\.x\t'\n2\t\\\\N\n"),
        (b"COPY e FROM stdin WITH (FORMAT csv)", b""),
        b"INSERT INTO t VALUES ('a;b', e'x\\';'), ('date')",
        b"select date'2020;', $1",
        "SELECT 1 \\gexec",
        b"select 'no semicolon'",
    ]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 64, 127, 128, 129, 1000])
def test_it_does_not_matter_how_a_script_arrives(size: int) -> None:
    """However few bytes come at a time, the pieces are the same."""
    assert taken_apart(NASTY, size=size) == taken_apart(NASTY)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 64, 127, 128, 129, 1000])
def test_no_token_of_a_long_insert_is_lost_where_a_block_ends(size: int) -> None:
    """Rows far longer than what is looked ahead, with every token that has two bytes: none is read as its halves."""
    row = b"(E'\\';', e'\\\\', E'''\\';', 'it''s;', date'2020;', 1-2, 4/2, $1, $$;'$$, $x$;'$x$ /* ;' */, 3 -- ;'\n)"
    insert = b"insert into t values " + b",".join([row] * 60)
    for escapes in (False, True):
        assert taken_apart(insert + b"; select 1", size=size, escapes=escapes) == [insert, b"select 1"]


@given(
    st.lists(
        st.sampled_from(
            [
                b"select 'a;''b\\'",
                b"select $x$;$y$;$x$",
                b'create table "a;""" (b int)',
                b"select /* ; */ 1 -- ;\n, 2",
                b"insert into t values (1, 'it''s; ok'), (2, E'\\';')",
                b"create procedure p() begin atomic select case when 1 then 2 end; end",
                b"do $$ begin raise notice ';'; end $$",
            ]
        ),
        max_size=12,
    ),
    st.integers(1, 200),
)
def test_statements_come_out_as_they_went_in(statements: list[bytes], size: int) -> None:
    """Any statements joined by semicolons, blanks and comments are found again, whatever the blocks."""
    script = b" ;\n-- ; '\n".join(statements) + b";"
    assert taken_apart(script, size=size) == statements


def test_backslashes_escape_where_the_server_says_so() -> None:
    """With standard_conforming_strings off, as dumps of old servers set it, a backslash hides a quote."""
    script = rb"insert into t values ('it\'s; '); select 1"
    assert len(taken_apart(script, escapes=True)) == 2
    with pytest.raises(DrydockError, match="inside a quoted text"):
        taken_apart(script)


def test_windows_line_ends_and_a_byte_order_mark() -> None:
    """The mark is dropped, the rows end at their marker, and what stands in the rows stays as it is."""
    script = b"\xef\xbb\xbfcopy t from stdin;\r\n1\r\n\\.\r\nselect 1;\r\n"
    assert taken_apart(script) == [(b"copy t from stdin", b"1\r\n"), b"select 1"]


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (b"select 'a", "inside a quoted text"),
        (b"select $$ a; select 1", "inside a quoted text"),
        (b"select /* a", "inside a comment"),
        (b"copy t from stdin;\n1\n2\n", "inside the rows"),
        (b"copy t from stdin;\n1\n\\", "inside the rows"),
        (b"--\n-- PostgreSQL database dump\n--\n\nselect 1;\n", "last line"),
        (b"--\n-- PostgreSQL database cluster dump\n--\nselect 1;\n", "last line"),
    ],
)
def test_a_script_that_was_cut_off_is_damaged(script: bytes, words: str) -> None:
    """Where the end is missing nobody takes what is there for all there was."""
    with pytest.raises(DrydockError, match=words):
        taken_apart(script)


def test_a_whole_dump_has_its_last_line() -> None:
    """pg_dump's first and last line go together, also where one dump follows another."""
    script = b"--\n-- PostgreSQL database dump\n--\nselect 1;\n--\n-- PostgreSQL database dump complete\n--\n\n"
    assert taken_apart(script * 2) == [b"select 1", b"select 1"]


def test_rows_are_not_held_in_memory() -> None:
    """A hundred megabytes of rows pass in blocks of at most a few hundred kilobytes."""
    line = b"1\tsome text that is as long as it is\n"

    class Rows:
        left = 100_000_000 // len(line)

        def read(self, size: int, /) -> bytes:
            if self.left == 0:
                return b""
            lines = min(self.left, max(1, size // len(line)))
            self.left -= lines
            return line * lines + (b"\\.\n" if self.left == 0 else b"")

    class Script(Rows):
        begun = False

        def read(self, size: int, /) -> bytes:
            if not self.begun:
                self.begun = True
                return b"copy t from stdin;\n"
            return super().read(size)

    reader = SqlReader(Script())
    assert next(reader.pieces()) == Statement(b"copy t from stdin", rows=True)
    blocks = [len(block) for block in reader.rows()]
    assert sum(blocks) == 100_000_000 // len(line) * len(line)
    assert max(blocks) < 1_000_000


def test_a_long_statement_is_read_in_linear_time() -> None:
    """One INSERT of forty megabytes arrives in small blocks and takes seconds, not minutes."""
    script = b"insert into t values " + b",".join([b"(1, 'a value; with a semicolon', E'\\'')"] * 1_000_000) + b";"
    begun = time.process_time()
    assert len(taken_apart(script, size=1 << 18)) == 1
    assert time.process_time() - begun < 60
