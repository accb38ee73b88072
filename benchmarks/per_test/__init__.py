"""A fresh database per test: drydock.testing against a bare clone, pytest-postgresql and a container with TRUNCATE.

Each side runs the same tests, one trivial query each, in a pytest of its own; the sides take turns. What a test costs
is what pytest itself reports for its setup (the database and a connection to it), its call and its teardown; what a
side does once per session is left out. The container is started once for all rounds, which flatters it.

Needs, beside the test extra: pip install "pytest-postgresql>=10,<11"
"""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.measure import Limit, Row, interleave, run
from benchmarks.per_test import content
from benchmarks.per_test.container import container
from drydock.settings import child_environment
from drydock.throwaway.server import open_server
from tests.checkout import Checkout

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.measure import Take

ROUNDS, TESTS, WARM_UP = 7, 40, 5
HERE = Path(__file__).parent
SIZES = {"": "schema only", "small": "seeded small"}
SIDES = ("ours", "bare", "peer", "truncate")


def measure(rounds: int = ROUNDS) -> list[Row]:
    """For the bare schema and for the small seeds: setup against a bare clone, whole tests against the peers."""
    with tempfile.TemporaryDirectory(prefix="drydock-benchmark-") as folder:
        root = Checkout(Path(folder) / "dock").root
        (root / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
        with contextlib.closing(open_server(root, idle=0)) as server, container(root) as durable:
            environment = server.environment
            content.fill(root, durable)
            facts = {
                "url": environment.database_url(environment.superuser, "postgres"),
                "container": durable,
                "root": str(root),
                "tests": TESTS,
            }
            return [
                row
                for size in SIZES
                for row in _rows({**facts, "size": size, "template": server.template(size)}, rounds)
            ]


def _rows(facts: Mapping[str, object], rounds: int) -> list[Row]:
    """The rows of one size; each turn is a session of each side."""
    if facts["size"]:
        content.seed(str(facts["container"]), str(facts["size"]))
    sessions: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}

    def take(side: str) -> Take:
        def session() -> float:
            sessions[side].append(_session(side, facts))
            return sessions[side][-1]["test"]

        return session

    interleave(rounds, *map(take, SIDES))
    what = SIZES[str(facts["size"])]
    setups = {side: [each["setup"] for each in sessions[side]] for side in SIDES}
    tests = {side: [each["test"] for each in sessions[side]] for side in SIDES}
    return [
        Row(
            f"`postgres` and a connection, {what}",
            "bare `CREATE DATABASE … FILE_COPY`, connect, same server",
            setups["ours"],
            setups["bare"],
            Limit(1.3),
        ),
        Row(f"whole test, {what}", "pytest-postgresql, same server", tests["ours"], tests["peer"], Limit(1)),
        Row(
            f"whole test, {what}",
            "one container, TRUNCATE" + (" and seed" if facts["size"] else ""),
            tests["ours"],
            tests["truncate"],
            Limit(1),
        ),
    ]


def _session(side: str, facts: Mapping[str, object]) -> dict[str, float]:
    """Seconds of the median test of one pytest session: `setup` alone, and all of the `test`."""
    with tempfile.NamedTemporaryFile(suffix=".json") as report:
        names = {"PER_TEST": json.dumps({**facts, "report": report.name})}
        paths = {"PYTHONPATH": f"{HERE.parents[1]}:{facts['root']}/src"}
        plugins = [part for name in ("timer", side) for part in ("-p", f"benchmarks.per_test.{name}")]
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *plugins]
        run(
            [*command, "-c", f"{facts['root']}/pytest.ini", str(HERE / "case.py")],
            Path(str(facts["root"])),
            child_environment(names | paths),
        )
        phases = json.loads(Path(report.name).read_text(encoding="utf-8"))
    tests = phases[WARM_UP:]
    return {"setup": median(test["setup"] for test in tests), "test": median(sum(test.values()) for test in tests)}
