"""Going back to a position of the WAL: drydock against the same by hand, Barman and pgBackRest.

Each side begins with a base backup and the WAL in its own form on disk, and ends with a promoted server that has
answered a query: by hand from drydock's files, with zstd, tar and the server; Barman copies plain files; pgBackRest
unpacks zstd, and gets the WAL while the server replays. All servers have the checkout's configuration, replay the same
WAL, and stop before the same record; rows are counted and summed up afterwards and compared with what there was.

`rewind` and `promote` are the part of drydock's restore that does this job, with all its proofs: hashes of the base
backup and of each segment, a stop that is read back. The command does more: it plans from an index of the WAL, counts
the rows of each table then and now, leaves a mark to come back to, ends the server beside, stops the environment's,
starts its next incarnation with a new part of the archive, and flushes Redis; the old cluster stays.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.amount import describe, settle, stocked
from benchmarks.measure import Limit, Row, interleave, seconds
from benchmarks.peers import Barman, ByHand, MissingError, PgBackRest
from benchmarks.recovered import TABLES, Goal, query, recovered
from drydock.recovery.archive import progress
from drydock.recovery.bases import base
from drydock.recovery.plans import plan as plans
from drydock.recovery.plans import planning, targets
from drydock.recovery.plans.moments import Clock
from drydock.recovery.restores import promotion, recipes, rewind
from drydock.recovery.upkeep import attendant, sealing
from drydock.recovery.wal.positions import parse_lsn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from benchmarks.measure import Take
    from benchmarks.peers import Peer
    from drydock.recovery.archive.folders import Stored
    from tests.checkout import Checkout

ROUNDS = 3
WAL = {"100MB": 10**9, "1GB": 10**9}

ALONE, WHOLE = "`rewind` and `promote`", "`invoke restore --lsn … --yes`"
PHASES = ("fill", "replay", "count", "swap")


@dataclass(frozen=True)
class Journey:
    """A goal, and the base backup that each peer begins with."""

    goal: Goal
    backups: dict[str, str]
    tables: list[str]
    size: int


def measure(rounds: int = ROUNDS, amount: str = "1GB") -> list[Row]:
    """With next to no WAL behind the base backup, and with a lot of it; on the embedded engine."""
    with ExitStack() as stack:
        dock = stack.enter_context(stocked(amount, "embedded"))
        attendant.stop(dock.environment.settings)
        peers = stack.enter_context(_peers(dock))
        dock.query("CREATE TABLE benchmark_marks (number int)")
        what = describe(dock)
        journeys = [_journey(dock, peers, WAL[amount])]
        dock.query("DROP TABLE benchmark_load")
        journeys.append(_journey(dock, peers, 0))
        return [row for journey in reversed(journeys) for row in _rows(dock, peers, journey, what, rounds)]


@contextmanager
def _peers(dock: Checkout) -> Iterator[list[Peer]]:
    """Those that can be had here; of the others it is printed why not."""
    made: dict[str, Callable[[Path], Peer]] = {
        "by hand": lambda _: ByHand(dock),
        "Barman": lambda folder: Barman(dock, folder),
        "pgBackRest": lambda folder: PgBackRest(dock, folder),
    }
    with ExitStack() as stack:
        peers = []
        for name, make in made.items():
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="drydock-benchmark-"))
            try:
                peer = make(Path(folder))
            except MissingError as error:
                print(f"{name} is left out: {error}", flush=True)
                continue
            stack.callback(peer.close)
            peers.append(peer)
        yield peers


def _journey(dock: Checkout, peers: Sequence[Peer], size: int) -> Journey:
    """Have everybody take a base backup, write so many bytes of WAL, and have everybody receive it."""
    dock.run("backup.base", "--no-verify")
    backups = {peer.name: peer.back_up() for peer in peers}
    begun = _position(dock)
    if size:
        _load(dock, begun + size)
    dock.query("INSERT INTO benchmark_marks VALUES (1)")
    tables = [*TABLES[:2], *(TABLES[2:] if size else ())]
    ((rows,),) = dock.query(query(tables))
    ((lsn, timeline),) = dock.query(_POSITION)
    goal = Goal(lsn, timeline, rows)
    dock.query("INSERT INTO benchmark_marks VALUES (2)")
    dock.query("SELECT pg_switch_wal()")
    segments = _received(dock)
    for peer in peers:
        peer.receive(segments)
    return Journey(goal, backups, tables, parse_lsn(goal.lsn) - begun)


_POSITION = "SELECT pg_current_wal_insert_lsn()::text, (SELECT timeline_id FROM pg_control_checkpoint())"


def _position(dock: Checkout) -> int:
    return parse_lsn(dock.query(_POSITION)[0][0])


def _load(dock: Checkout, end: int) -> None:
    """Insert, update and delete until the WAL has got there: a commit for every few thousand rows."""
    dock.query(
        "CREATE TABLE benchmark_load (id bigserial PRIMARY KEY, account int NOT NULL, note text NOT NULL);"
        " CREATE INDEX ON benchmark_load (account)"
    )
    while _position(dock) < end:
        dock.query(
            "INSERT INTO benchmark_load (account, note) SELECT (random() * 1e6)::int, repeat(md5(n::text), 4)"
            " FROM generate_series(1, 10000) AS n"
        )
        dock.query("UPDATE benchmark_load SET account = account + 1 WHERE id % 37 = (random() * 36)::int")
        dock.query("DELETE FROM benchmark_load WHERE id % 101 = (random() * 100)::int")


def _received(dock: Checkout) -> list[Stored]:
    """All complete segments once everything is in drydock's archive, sealed as drydock's tasks leave them."""
    environment = dock.environment
    progress.wait_for(environment, _position(dock))
    archive = base.archive_of(environment)
    sealing.seal(environment.settings, archive, writing=environment.state.part)
    found = archive.segments(environment.state.part)
    return [stored for stored in found if not stored.path.name.endswith(".partial")]


def _rows(dock: Checkout, peers: Sequence[Peer], journey: Journey, what: str, rounds: int) -> list[Row]:
    phases: dict[str, list[float]] = {name: [] for name in PHASES}
    takes = [_alone(dock, journey), _whole(dock, journey, phases), *(_theirs(dock, peer, journey) for peer in peers)]
    # The first time, the command indexes the WAL, and pgBackRest makes its folders.
    interleave(1, *takes)
    for kept in phases.values():
        kept.clear()
    alone, whole, *theirs = interleave(rounds, *takes)
    what = f"{what}, {journey.size / 1e6:,.0f} MB of WAL"
    hand = "by hand"
    rows = []
    for peer, times in zip(peers, theirs, strict=True):
        limit = Limit(1.2) if peer.name.startswith(hand) else Limit(1)
        rows += [
            Row(f"{ours}, {what}", peer.name, mine, times, limit) for ours, mine in ((ALONE, alone), (WHOLE, whole))
        ]
    rows += [Row(f"{WHOLE}, {what}: {name}", "all of it", times, whole) for name, times in phases.items()]
    return rows


def _alone(dock: Checkout, journey: Journey) -> Take:
    def take() -> float:
        environment = dock.environment
        archive, beside = base.archive_of(environment), environment.engine.beside
        clock = Clock(datetime.now(UTC))
        target = targets.AtLsn(parse_lsn(journey.goal.lsn), journey.goal.timeline)
        with planning.look(environment, archive, clock) as situation:
            plan = plans.make(target, situation)
        beside.prepare(_quiet)
        volume = beside.volume("benchmark")

        def work() -> None:
            paused = rewind.rewind(beside, volume, recipes.make(environment.settings, archive, plan), _quiet)
            promotion.promote(beside, paused, environment.superuser)

        settle(dock)
        try:
            took = seconds(work)
            rows = beside.ask(volume, query(journey.tables), environment.settings.database).strip()
            journey.goal.compare(ALONE, rows)
        finally:
            beside.remove(volume)
        return took

    return take


def _whole(dock: Checkout, journey: Journey, phases: dict[str, list[float]]) -> Take:
    def take() -> float:
        goal = journey.goal
        settle(dock)
        answers = []
        took = seconds(lambda: answers.append(dock.json("restore", "--lsn", f"{goal.timeline}:{goal.lsn}", "--yes")))
        # A base backup is being taken by then.
        attendant.stop(dock.environment.settings)
        ((rows,),) = dock.query(query(journey.tables))
        goal.compare(WHOLE, rows)
        for name in PHASES:
            phases[name].append(answers[0]["seconds"][name])
        dock.environment.engine.beside.remove(answers[0]["previous"])
        return took

    return take


def _theirs(dock: Checkout, peer: Peer, journey: Journey) -> Take:
    def take() -> float:
        with recovered(dock) as server:

            def work() -> None:
                server.start(*peer.lay(journey.backups[peer.name], journey.goal, server.data))
                server.wait()

            settle(dock)
            took = seconds(work)
            rows = server.ask(query(journey.tables), dock.environment.settings.database)
            journey.goal.compare(peer.name, rows)
            server.end()
        return took

    return take


def _quiet(_line: str) -> None:
    """Report to nobody."""
