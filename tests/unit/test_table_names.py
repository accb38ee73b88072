"""The qualified name of a table: one text that leads back to schema and table, whatever they are called."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from drydock.backup import table_names

NAMES = st.text(st.one_of(st.sampled_from('.".""a'), st.characters(exclude_characters="\0", codec="utf-8")), min_size=1)


@given(NAMES, NAMES)
@example('a".b', "c")
@example('"', '".')
def test_a_name_leads_back_to_its_parts(schema: str, table: str) -> None:
    """To join is the inverse of to split, also with dots and quotes in either part; so no two tables share a name."""
    assert table_names.split(table_names.join(schema, table)) == (schema, table)


@given(NAMES, NAMES)
def test_a_table_can_be_named_as_in_sql(schema: str, table: str) -> None:
    """The name in quotes that statements use is one of the readings of itself."""
    name = table_names.join(schema, table)
    assert name in table_names.readings(table_names.quoted(name))


@pytest.mark.parametrize(
    ("schema", "table", "name"),
    [
        ("public", "users", "public.users"),
        ("Odd one", 'Sel"ect', 'Odd one.Sel"ect'),
        ("public", "dot.ted", "public.dot.ted"),
        ("my.schema", "secret", '"my.schema".secret'),
        ('my"schema', "secret", '"my""schema".secret'),
    ],
)
def test_the_schema_is_in_quotes_only_where_it_must_be(schema: str, table: str, name: str) -> None:
    """What manifests and --json call ordinary tables stays as it was."""
    assert table_names.join(schema, table) == name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("users", "public.users"),
        ("Users", "public.users"),
        ('"Users"', "public.Users"),
        ('"dot.ted"', "public.dot.ted"),
        ("Shop . Users", "shop.users"),
        ('"my.schema"."Se""cret"', '"my.schema".Se"cret'),
        ("dot.ted", "dot.ted"),
        ("ÄRA", "public.Ära"),
    ],
)
def test_what_is_written_as_in_sql_is_read_so(text: str, name: str) -> None:
    """Bare words are folded, words in quotes are not; without a schema it is public's."""
    assert name in table_names.readings(text)


def test_what_is_no_name_in_sql_is_refused() -> None:
    """Rather than read as something else."""
    with pytest.raises(ValueError, match=r"a\.b\.c"):
        table_names.in_sql("a.b.c")


def test_words_that_are_no_name_have_no_reading_of_sql() -> None:
    """Three parts and a quote that does not end are taken as they are."""
    for text in ("a.b.c", '"a', 'a"."b'):
        assert list(table_names.readings(text)) == [text, f"public.{text}"]
