"""The sample rows themselves, without a server."""

import base64
import hashlib
import math
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pgvector import Vector

from app.models import EMBEDDING_DIMENSIONS, Base
from app.seeds import SIZES, TABLES, conversations, embeddings, messages, users
from app.seeds.plan import SeedTable, message_count, organization_count
from app.seeds.words import TOPICS

each_table = pytest.mark.parametrize("table", TABLES, ids=[table.name for table in TABLES])
digits = st.text(embeddings.DIGITS, min_size=embeddings.BLOCKS, max_size=embeddings.BLOCKS)
topics = st.sampled_from([topic.name for topic in TOPICS])


def cosine(one: list[float], other: list[float]) -> float:
    """The cosine of the angle between two vectors."""
    product = sum(x * y for x, y in zip(one, other, strict=True))
    return product / (math.hypot(*one) * math.hypot(*other))


def vector(topic: str, selected: str) -> list[float]:
    """The embedding that digits select, as numbers."""
    return Vector.from_binary(embeddings.embedding(embeddings.blocks(topic), selected)).to_list()


@each_table
def test_the_rows_are_the_same_every_time(table: SeedTable) -> None:
    """Two runs give equal rows."""
    assert list(table.rows("small")) == list(table.rows("small"))


def test_the_rows_are_the_same_for_ever() -> None:
    """All small rows hash to the digest of the day they were last changed on purpose, on every Python release."""
    digest = hashlib.sha256()
    for table in TABLES:
        for row in table.rows("small"):
            digest.update(repr(row).encode())
    assert digest.hexdigest() == "f44f389bc54e9a16dd18d784e67fece1cc48cd41d0637047dcc8acfb0f952d1c"


@each_table
def test_a_smaller_size_is_the_beginning_of_a_larger_one(table: SeedTable) -> None:
    """Small rows come first in medium, medium rows in large."""
    small, medium = list(table.rows("small")), list(islice(table.rows("medium"), 5000))
    assert small == medium[: len(small)]
    assert medium == list(islice(table.rows("large"), len(medium)))


@each_table
@pytest.mark.parametrize("size", ["small", "medium"])
def test_ids_are_unique_and_counted(table: SeedTable, size: str) -> None:
    """Every row has an id of its own, and there are as many rows as `count` says."""
    ids = [row[0] for row in table.rows(size)]
    assert len(ids) == len(set(ids)) == table.count(size)


@each_table
def test_the_columns_are_those_of_the_model(table: SeedTable) -> None:
    """A row has a value for every column that takes one, so none of them depends on a server default."""
    columns = Base.metadata.tables[table.name].columns
    assert {column.name for column in columns if column.computed is None} == set(table.columns)
    assert len(next(table.rows("small"))) == len(table.columns)


@pytest.mark.parametrize(("size", "about"), [("small", 1_000), ("medium", 100_000), ("large", 1_000_000)])
def test_the_sizes_are_what_they_are_said_to_be(size: str, about: int) -> None:
    """The number of messages is within a quarter of the round figure."""
    assert math.isclose(messages.count(size), about, rel_tol=0.25)


def test_an_unknown_size_is_refused() -> None:
    """The error names the sizes there are."""
    with pytest.raises(ValueError, match=r"'huge'.*small, medium, large"):
        organization_count("huge")


def test_every_parent_is_seeded() -> None:
    """The owner and the parent that a row names are among the seeded rows."""
    ids = {table.name: {row[0] for row in table.rows("small")} for table in TABLES}
    parents = {
        "businesses": "users",
        "conversations": "businesses",
        "messages": "conversations",
        "knowledge_chunks": "knowledge_bases",
        "submissions": "forms",
        "events": "workflows",
    }
    for table in TABLES[1:]:
        assert {row[1] for row in table.rows("small")} <= ids["organizations"]
    for table in TABLES:
        if table.name in parents:
            assert {row[2] for row in table.rows("small")} <= ids[parents[table.name]]


def test_message_counts_are_true() -> None:
    """A conversation's `message_count` is the number of its messages."""
    counted: dict[object, int] = {}
    for row in messages.rows("small"):
        counted[row[2]] = counted.get(row[2], 0) + 1
    assert {row[0]: row[4] for row in conversations.rows("small")} == counted


def test_a_conversation_fits_its_block_of_ids() -> None:
    """No conversation has more messages than ids were set aside for it."""
    assert max(map(message_count, range(9))) <= messages.TURNS_PER_ID


@pytest.mark.parametrize("size", SIZES)
def test_addresses_are_unique_without_regard_to_case(size: str) -> None:
    """The unique index on email_key holds for every size."""
    addresses = [row[2].lower() for row in users.rows(size)]
    assert len(addresses) == len(set(addresses))


def test_the_documented_password_opens_every_account() -> None:
    """The stored hash is scrypt of the documented password, with the parameters that it names."""
    _, scheme, parameters, salt, expected = users.PASSWORD_HASH.split("$")
    given_parameters = dict(part.split("=") for part in parameters.split(","))
    assert scheme == "scrypt"
    hashed = hashlib.scrypt(
        users.DEV_PASSWORD.encode(),
        salt=base64.b64decode(salt + "=" * (-len(salt) % 4)),
        n=2 ** int(given_parameters["ln"]),
        r=int(given_parameters["r"]),
        p=int(given_parameters["p"]),
        dklen=32,
    )
    assert base64.b64encode(hashed).decode().rstrip("=") == expected


@given(topics, digits)
def test_an_embedding_is_384_finite_numbers_of_unit_length(topic: str, selected: str) -> None:
    """The bytes decode as a vector column's value, of about the length that embedding models give."""
    values = vector(topic, selected)
    assert len(values) == EMBEDDING_DIMENSIONS
    assert all(map(math.isfinite, values))
    assert math.isclose(math.hypot(*values), 1, rel_tol=0.15)


@given(topics, topics, digits, digits)
def test_a_topic_is_nearer_to_itself_than_to_any_other(one: str, other: str, first: str, second: str) -> None:
    """Two vectors of one topic are near; vectors of two topics are not."""
    similarity = cosine(vector(one, first), vector(other, second))
    assert similarity > 0.6 if one == other else similarity < 0.4


@given(topics, digits, digits)
def test_different_draws_give_different_vectors(topic: str, first: str, second: str) -> None:
    """An embedding is a function of its digits, and no two selections share one."""
    assert (vector(topic, first) == vector(topic, second)) == (first == second)


def test_only_system_prompts_have_no_embedding() -> None:
    """Everything that was said by somebody can be found by meaning."""
    assert all((row[3] == "system") == (row[6] is None) for row in messages.rows("small"))
