from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from drydock import redis_client
from drydock.environment import Environment
from drydock.redis_client import RedisReplyError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drydock.redis_client import Redis
    from tests.checkout import Checkout


@pytest.fixture
def redis(scratch: Checkout) -> Iterator[Redis]:
    with redis_client.connect(scratch.environment) as connection:
        connection.ask("FLUSHALL")
        yield connection


@pytest.mark.parametrize(
    ("words", "reply"),
    [
        (["PING"], "PONG"),
        (["SET", "k", "two words\r\nand a line"], "OK"),
        (["GET", "k"], ""),
        (["DBSIZE"], "0"),
        (["SET", "ü", ""], "OK"),
        (["EVAL", "return nil", "0"], ""),
    ],
)
def test_replies_of_every_kind(redis: Redis, words: list[str], reply: str) -> None:
    """Status, integer, bulk and null replies come back as text, and the connection stays in step."""
    assert redis.ask(*words) == reply
    assert redis.ask("ECHO", "in step") == "in step"


def test_what_is_set_is_got(redis: Redis) -> None:
    """Line ends and bytes beyond ASCII survive both ways."""
    redis.ask("SET", "k", "ünï\r\ncode")
    assert redis.ask("GET", "k") == "ünï\r\ncode"


def test_an_error_reply_is_an_error(redis: Redis) -> None:
    """Redis' own words are in the sentence."""
    with pytest.raises(RedisReplyError, match="unknown command"):
        redis.ask("NONSENSE")


def test_a_wrong_password_is_refused(scratch: Checkout) -> None:
    """Another password does not get in, and the error does not repeat it."""
    import dataclasses

    own = scratch.environment
    other = Environment(dataclasses.replace(own.settings, redis_password="not-the-password"), own.state)
    with pytest.raises(RedisReplyError) as caught, redis_client.connect(other):
        pass
    assert "not-the-password" not in str(caught.value)
