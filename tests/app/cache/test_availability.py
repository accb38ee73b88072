from __future__ import annotations

from functools import partial

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from app.cache.availability import Availability


def test_a_failure_is_remembered_for_a_moment(caplog: pytest.LogCaptureFixture) -> None:
    """Redis is left alone for the pause, then asked again; the log has one line for each change."""
    now = [100.0]
    availability = Availability("the cache", pause=1, clock=lambda: now[0])
    usable = [availability.usable]
    refused = partial(availability.failed, RedisConnectionError("refused"))
    for event in (refused, availability.answered):
        for _ in range(2):
            event()
            usable.append(availability.usable)
            now[0] += 1
            usable.append(availability.usable)
    assert usable == [True, False, True, False, True, True, True, True, True]
    assert len(caplog.records) == 2


@pytest.mark.parametrize("age", [0.0, 0.99])
def test_the_pause_begins_anew_with_each_failure(age: float) -> None:
    """A second failure within the pause prolongs it."""
    now = [0.0]
    availability = Availability("the cache", pause=1, clock=lambda: now[0])
    availability.failed(RedisConnectionError("refused"))
    now[0] = 0.5
    availability.failed(RedisConnectionError("refused"))
    now[0] += age
    assert not availability.usable
