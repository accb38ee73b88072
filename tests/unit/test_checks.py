from __future__ import annotations

import pytest

from drydock.checks import Check, Status, worst

P, W, F = Status.PASS, Status.WARN, Status.FAIL


@pytest.mark.parametrize(("seen", "expected"), [([], P), ([P, P], P), ([P, W], W), ([W, F, P], F)])
def test_the_worst_decides(seen: list[Status], expected: Status) -> None:
    """Fail beats warn beats pass; nothing asked is a pass."""
    assert expected == worst(Check(str(n), status) for n, status in enumerate(seen))
