"""A running environment: the second `up`, and `status`, against compose's own look at the same stack."""

from __future__ import annotations

from benchmarks.measure import Limit, Row, interleave, seconds
from benchmarks.stage import Declaration, checkout

ROUNDS = 15


def measure(rounds: int = ROUNDS) -> list[Row]:
    """Second `up` and `status` against `docker compose up --detach --wait`, which changes nothing either.

    Raises:
        RuntimeError: where one of the three did change something, so that the numbers would mean nothing.
    """
    with checkout("docker") as dock:
        stack = Declaration.of(dock)
        containers = stack.compose("ps", "--quiet")

        def again() -> None:
            stack.compose("up", "--detach", "--wait")

        again()
        if dock.json("up")["changed"]:
            raise RuntimeError("The second `up` changed something.")
        up, status, peer = interleave(
            rounds,
            lambda: seconds(lambda: dock.run("up")),
            lambda: seconds(lambda: dock.run("status")),
            lambda: seconds(again),
        )
        if stack.compose("ps", "--quiet") != containers:
            raise RuntimeError("The containers are not those from before.")
    against = "`docker compose up -d --wait`, same stack"
    return [
        Row("second `invoke up`", against, up, peer, Limit(0.8)),
        Row("`invoke status`", against, status, peer, Limit(0.6)),
    ]
