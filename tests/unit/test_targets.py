"""Recovery targets: one at a time, with their timelines."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from drydock.errors import SettingsError
from drydock.recovery.plans import targets
from drydock.recovery.plans.moments import Clock
from drydock.recovery.plans.targets import AtLsn, AtMark, AtTime, AtXid, Latest, Words

CLOCK = Clock(datetime(2026, 11, 21, 12, 0, tzinfo=UTC), UTC)


@pytest.mark.parametrize(
    ("words", "target", "described"),
    [
        ({"at": "10:00"}, AtTime(datetime(2026, 11, 21, 10, 0, tzinfo=UTC)), "2026-11-21 10:00:00.000000+00"),
        ({"at": "10:00", "timeline": "2"}, AtTime(datetime(2026, 11, 21, 10, 0, tzinfo=UTC), 2), "2026-11-21"),
        ({"before_xid": "733"}, AtXid(733), "before transaction 733"),
        ({"before_xid": "2:733"}, AtXid(733, 2), "before transaction 2:733"),
        ({"before_xid": "2:733", "timeline": "2"}, AtXid(733, 2), "before transaction 2:733"),
        ({"lsn": "0/16B3748"}, AtLsn(0x16B3748), "position 0/16B3748"),
        ({"lsn": "3:1/0", "timeline": ""}, AtLsn(1 << 32, 3), "position 1/0"),
        ({"mark": "before the merge"}, AtMark("before the merge"), "mark before the merge"),
        ({"latest": True}, Latest(), "all there is"),
        ({"latest": True, "timeline": "1"}, Latest(1), "all there is"),
    ],
)
def test_one_target_is_understood(words: dict[str, Any], target: targets.Target, described: str) -> None:
    """Every kind has its own form, and says what it is."""
    found = targets.chosen(Words(**words), CLOCK)
    assert found == target
    assert targets.described(found, CLOCK).startswith(described)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ({}, "not said how far"),
        ({"timeline": "2"}, "not said how far"),
        ({"at": "10:00", "latest": True}, "--at and --latest cannot be had together"),
        ({"lsn": "0/1", "before_xid": "733", "mark": "m"}, "--before-xid and --lsn and --mark cannot"),
        ({"before_xid": "2"}, "'2' is no transaction"),
        ({"before_xid": "-733"}, "is no transaction"),
        ({"before_xid": "7e2"}, "is no transaction"),
        ({"before_xid": "\u0667\u0663\u0663"}, "is no transaction"),
        ({"before_xid": ":733"}, "'' is no timeline"),
        ({"before_xid": "0:733"}, "'0' is no timeline"),
        ({"before_xid": "1:2:733"}, "'1:2' is no timeline"),
        ({"before_xid": "1:733", "timeline": "2"}, "is on timeline 1, and --timeline says 2"),
        ({"lsn": "16B3748"}, "not a position"),
        ({"lsn": "x:0/1"}, "'x' is no timeline"),
        ({"at": "10:00", "timeline": "latest"}, "'latest' is no timeline"),
        ({"mark": "m", "timeline": "1"}, "a mark knows its own"),
    ],
)
def test_anything_else_is_refused(words: dict[str, Any], why: str) -> None:
    """None, several, or one that cannot be understood: a sentence and the forms there are (trap 16)."""
    with pytest.raises(SettingsError, match=why) as caught:
        targets.chosen(Words(**words), CLOCK)
    assert caught.value.hint
