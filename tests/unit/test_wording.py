"""Which definitions say the same in other words."""

from __future__ import annotations

import pytest

from drydock.backup.wording import alike, canonical

VARYING = "character varying"


@pytest.mark.parametrize(
    ("written", "worded_again"),
    [
        (f"(ARRAY['a'::{VARYING}, 'b'::{VARYING}])::text[]", f"ARRAY[('a'::{VARYING})::text, ('b'::{VARYING})::text]"),
        (f"(ARRAY['it''s, ]'::{VARYING}])::text[]", f"ARRAY[('it''s, ]'::{VARYING})::text]"),
        (f"(ARRAY[E'\\',('::{VARYING}])::text[]", f"ARRAY[(E'\\',('::{VARYING})::text]"),
        ("(ARRAY[f(a, b), x])::numeric(10,2)[]", "ARRAY[(f(a, b))::numeric(10,2), (x)::numeric(10,2)]"),
        ('(ARRAY["odd, name"])::"A Schema"."T"[]', 'ARRAY[("odd, name")::"A Schema"."T"]'),
        ("(ARRAY[t])::timestamp(3) without time zone[]", "ARRAY[(t)::timestamp(3) without time zone]"),
        ("(ARRAY[(ARRAY[a])::int[]])::text[]", "ARRAY[(ARRAY[(a)::int])::text]"),
    ],
)
def test_casts_of_arrays_are_those_of_their_elements(written: str, worded_again: str) -> None:
    """What is within strings and quoted names is nothing to go by."""
    assert canonical(f"CHECK ((s = ANY ({written})))") == f"CHECK ((s = ANY ({worded_again})))"
    assert alike(written, worded_again, exact=True)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "(ARRAY[a",
        "(ARRAY[a])",
        "(ARRAY[a])::text",
        "'(ARRAY[a])::text[]'",
        'SELECT "(ARRAY[a])::text[]"',
        "a::text[]",
    ],
)
def test_anything_else_is_left_as_it_is(text: str) -> None:
    """Also what is cut off, or only looks like it."""
    assert canonical(text) == text


@pytest.mark.parametrize(
    ("ours", "theirs", "same", "exactly"),
    [
        ("CHECK ((a > 1))", "CHECK (a > 1)", True, False),
        ("CHECK (s = 'x'::text)", "CHECK ((s)::text = 'x'::text)", True, False),
        ("CHECK ((a > 1))", "CHECK ((a > 2))", False, False),
        ("CHECK (s = '(x)')", "CHECK (s = 'x')", False, False),
        ('CHECK ("a b" > 1)', "CHECK (ab > 1)", False, False),
        ("SELECT a,\n b", "SELECT a, b", True, False),
        ("SELECT a", "SELECT a", True, True),
    ],
)
def test_what_a_server_adds_or_leaves_out_decides_nothing(ours: str, theirs: str, *, same: bool, exactly: bool) -> None:
    """Parentheses, casts and white space, unless it has to be exact; all else does."""
    assert (alike(ours, theirs), alike(ours, theirs, exact=True)) == (same, exactly)
    assert (alike(theirs, ours), alike(theirs, ours, exact=True)) == (same, exactly)
