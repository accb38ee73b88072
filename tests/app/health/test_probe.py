from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from app.db.ledger import PoolStats
from app.health.check import Check, Status, worst
from app.health.database import pool_check
from app.health.document import document
from app.health.probe import Probe
from app.health.redis import _memory, _state

if TYPE_CHECKING:
    from collections.abc import Sequence

WELL = [Check(name="thing:responseTime", value=1)]


class Question:
    """Answers when it is told to, and counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.begun = threading.Event()
        self.answer = threading.Event()

    def __call__(self) -> Sequence[Check]:
        """Ask."""
        self.asked += 1
        self.begun.set()
        assert self.answer.wait(10)
        return WELL


def test_silence_is_told_at_the_deadline_and_then_at_once() -> None:
    """The clock decides: late askers do not begin another wait, and the next question comes after the answer."""
    now, question = [0.0], Question()
    probe = Probe("thing", question, deadline=5, clock=lambda: now[0])
    probe.begin()
    assert question.begun.wait(10)
    now[0] = 7
    (check,) = probe.answer()
    assert (check.status, check.value, check.output) == (Status.FAIL, 7000, "no answer within 5 s")
    assert asyncio.run(probe.answer_async())[0].output == "no answer within 5 s"
    assert question.asked == 1
    question.answer.set()
    while question.asked == 1:
        probe.answer()
    assert probe.answer() is WELL


def test_threads_share_one_question() -> None:
    """As many askers as there are get one answer."""
    question = Question()
    probe = Probe("thing", question, deadline=10)
    with ThreadPoolExecutor(10) as threads:
        answers = [threads.submit(probe.answer) for _ in range(10)]
        assert question.begun.wait(10)
        question.answer.set()
        assert all(answer.result() is WELL for answer in answers)
    assert question.asked <= 10


def test_a_mistake_of_ours_has_an_id(caplog: pytest.LogCaptureFixture) -> None:
    """The stranger gets the id, the log the traceback."""

    def broken() -> Sequence[Check]:
        raise ZeroDivisionError

    (check,) = Probe("thing", broken, deadline=5).answer()
    assert check.status is Status.FAIL
    assert "ZeroDivision" not in check.output
    (error,) = [record for record in caplog.records if record.exc_info]
    assert error.error_id in check.output  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [((), "pass"), (("pass", "warn"), "warn"), (("warn", "fail", "pass"), "fail"), (("pass", "pass"), "pass")],
)
def test_the_worst_status_counts(statuses: tuple[str, ...], expected: str) -> None:
    """Fail beats warn beats pass; no checks are a pass."""
    assert worst(Check(name="a:b", status=Status(status)) for status in statuses) == expected


def test_a_document_keeps_several_of_one_kind_apart() -> None:
    """Entries of one key are told apart by componentId; what is empty is left out."""
    found = document([Check(name="a:b", part="x", value=0), Check(name="a:b", part="y", details={"more": 1})])
    first, second = found["checks"]["a:b"]
    assert set(first) == {"componentId", "componentType", "observedValue", "status", "time"}
    assert (first["componentId"], first["observedValue"], second["componentId"], second["more"]) == ("x", 0, "y", 1)


@pytest.mark.parametrize(
    ("stats", "words"),
    [
        (PoolStats(maximum=10, in_use=10), ""),
        (PoolStats(maximum=10, in_use=10, waiting=1), "callers wait"),
        (PoolStats(maximum=10, in_use=1, leaks=("orders.py:12",)), "DB_LEAK_AFTER"),
    ],
)
def test_a_pool_that_is_short_is_a_warning(stats: PoolStats, words: str) -> None:
    """Busy is well; waiting and leaking are not. Where a leak is stays in the log."""
    check = pool_check(stats)
    assert check.status is (Status.WARN if words else Status.PASS)
    assert words in check.output
    assert "orders.py" not in str(document([check]))


@pytest.mark.parametrize(
    ("used", "maximum", "policy", "status"),
    [
        (95, 100, "noeviction", "warn"),
        (95, 100, "allkeys-lru", "pass"),
        (95, 0, "noeviction", "pass"),
        (80, 100, "noeviction", "pass"),
    ],
)
def test_a_full_redis(used: int, maximum: int, policy: str, status: str) -> None:
    """Only one that evicts nothing refuses writes."""
    assert _memory(used, maximum, policy).status == status


def test_a_loading_redis_is_not_ready() -> None:
    """It answers, and has not all its data."""
    facts = {"loading": 1, "used_memory": 1, "maxmemory": 0, "maxmemory_policy": "noeviction", "redis_version": "7.4"}
    assert next(iter(_state(facts))).status is Status.FAIL
