"""A ledger of everything that was committed, and restores to random moments of it that must show just that.

Sessions take turns, so that the order of their commits is known without asking the WAL: inserts, updates, deletes,
savepoints that are released or rolled back, changes of the schema, TRUNCATE, transactions that are rolled back, and
transactions in two phases. Beside them, writers on threads of their own commit as fast as they can.

    python -m tests.time_travel --engine embedded --targets 500 --seed 1
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg

from drydock.errors import RefusedError
from drydock.recovery.archive import marks
from drydock.recovery.archive.folders import Archive
from drydock.recovery.bases import copying
from drydock.recovery.plans import plan, planning
from drydock.recovery.plans.moments import Clock
from drydock.recovery.plans.targets import AtLsn, AtMark, AtTime, AtXid, Latest, Target
from drydock.recovery.restores import recipes, rewind
from drydock.recovery.wal.positions import parse_lsn
from tests.checkout import Checkout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from drydock.engine import Beside
    from drydock.environment import Environment
    from drydock.recovery.plans.situation import Situation

Connection = psycopg.Connection[tuple[Any, ...]]
Rows = dict[str, frozenset[str]]
MICROSECOND = timedelta(microseconds=1)
SESSIONS, WRITERS = 4, 2
LOCKED = "lock timeout"
FRESH = 40  # one restore in so many begins with an empty volume and is promoted; the others go on from the one before
OPTIONS = {"max_prepared_transactions": 20, "max_wal_size": "'128MB'", "checkpoint_timeout": "30s"}


@dataclass(frozen=True)
class Entry:
    """A state of the database, from one commit to the next.

    Attributes:
        rows: of every table of the ledger.
        prepared: the transactions that wait for their second phase.
        xid: of the commit that made it; 0 for a state that another transaction made.
        parts: numbers of savepoints that were committed with it.
        before: a position before the commit's record, or the beginning of it.
        after: a position after it.
        moment: the commit's time.
        seen: a time after it, and before the next commit.
    """

    rows: Rows
    prepared: frozenset[str]
    xid: int
    parts: tuple[int, ...]
    before: int
    after: int
    moment: datetime
    seen: datetime


@dataclass
class Noise:
    """A commit of a concurrent writer, with positions before and after it."""

    writer: int
    number: int
    xid: int
    before: int
    after: int


@dataclass
class Ledger:
    """What was done, in the order of commits."""

    entries: list[Entry] = field(default_factory=list)
    rolled_back: list[int] = field(default_factory=list)
    marks: dict[str, int] = field(default_factory=dict)
    noise: list[Noise] = field(default_factory=list)


class Session:
    """One connection, with tables and rows that only it changes; what it will commit, and what it has."""

    def __init__(self, url: str, number: int, rng: random.Random) -> None:
        self.connection: Connection = psycopg.connect(url, autocommit=True)
        self.number, self.generation, self.rng = number, 0, rng
        self.committed: dict[str, dict[int, dict[str, Any]]] = {}
        self.pending: dict[str, dict[int, dict[str, Any]]] = {}
        self.open, self.xid, self.parts = False, 0, list[int]()

    @property
    def table(self) -> str:
        """Its own; a new one after a transaction in two phases, which holds its locks for long."""
        return f"s{self.number}_{self.generation}"

    def begin(self) -> None:
        """Start a transaction that has a number."""
        self.connection.execute("BEGIN")
        self.xid = int(self._one("SELECT pg_current_xact_id()::text::bigint % (1::bigint << 32)"))
        self.pending = {name: {key: dict(row) for key, row in rows.items()} for name, rows in self.committed.items()}
        self.open, self.parts = True, []
        if self.table not in self.pending:
            self.connection.execute(f"CREATE TABLE ledger.{self.table} (id bigint PRIMARY KEY, value text)")
            self.pending[self.table] = {}

    def step(self) -> None:
        """One change, whichever."""
        self.rng.choices(
            [self.insert, self.update, self.delete, self.savepoint, self.truncate, self.add_column, self.rebuild],
            weights=[30, 20, 12, 12, 1, 1, 1],
        )[0]()

    def insert(self) -> None:
        """Some rows into its own table."""
        rows = self.pending[self.table]
        names = self._columns()
        for _ in range(self.rng.randint(1, 5)):
            key = self.rng.getrandbits(40)
            row = {"id": key, **{name: self._word() for name in names}}
            if key not in rows:
                columns, values = ", ".join(row), ", ".join(["%s"] * len(row))
                self._execute(f"INSERT INTO ledger.{self.table} ({columns}) VALUES ({values})", tuple(row.values()))
                rows[key] = row

    def update(self) -> None:
        """Some of its rows, wherever they are."""
        rows = self.pending[self.table]
        for key in self.rng.sample(sorted(rows), min(len(rows), 3)):
            rows[key]["value"] = self._word()
            self._execute(f"UPDATE ledger.{self.table} SET value = %s WHERE id = %s", (rows[key]["value"], key))

    def delete(self) -> None:
        """Some of its rows."""
        rows = self.pending[self.table]
        for key in self.rng.sample(sorted(rows), min(len(rows), 2)):
            del rows[key]
            self._execute(f"DELETE FROM ledger.{self.table} WHERE id = %s", (key,))

    def savepoint(self) -> None:
        """Changes that are released, or rolled back alone."""
        kept = {name: {key: dict(row) for key, row in rows.items()} for name, rows in self.pending.items()}
        self.connection.execute("SAVEPOINT here")
        self.insert()
        part = int(self._one(f"SELECT max(xmin::text::bigint) FROM ledger.{self.table}") or 0)
        if self.rng.random() < 0.5:
            self.connection.execute("ROLLBACK TO SAVEPOINT here")
            self.pending = kept
        elif part > self.xid:
            self.parts.append(part)
        self.connection.execute("RELEASE SAVEPOINT here")

    def truncate(self) -> None:
        """All of its rows."""
        self._execute(f"TRUNCATE ledger.{self.table}")
        self.pending[self.table] = {}

    def add_column(self) -> None:
        """A column that every row has then."""
        names = self._columns()
        if len(names) < 5:
            self._execute(f"ALTER TABLE ledger.{self.table} ADD COLUMN c{len(names)} text NOT NULL DEFAULT 'new'")
            for row in self.pending[self.table].values():
                row[f"c{len(names)}"] = "new"

    def rebuild(self) -> None:
        """The table anew, empty."""
        self._execute(f"DROP TABLE ledger.{self.table}")
        self._execute(f"CREATE TABLE ledger.{self.table} (id bigint PRIMARY KEY, value text)")
        self.pending[self.table] = {}

    def end(self, statement: str) -> None:
        """COMMIT, ROLLBACK or PREPARE TRANSACTION."""
        self.connection.execute(statement.encode())
        self.open = False

    def _columns(self) -> list[str]:
        query = "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 1 AND NOT attisdropped"
        return [str(name) for (name,) in self.connection.execute(query, (f"ledger.{self.table}",))]

    def _execute(self, statement: str, values: Sequence[Any] = ()) -> None:
        self.connection.execute(statement.encode(), values or None)

    def _one(self, query: str) -> Any:
        row = self.connection.execute(query.encode()).fetchone()
        return row[0] if row else None

    def _word(self) -> str:
        return f"{self.rng.getrandbits(64):x}" * self.rng.choice([1, 1, 1, 200])


class Writer(threading.Thread):
    """Commits as fast as it can, and notes the positions before and after."""

    def __init__(self, url: str, number: int) -> None:
        super().__init__(name=f"writer {number}")
        self.url, self.number, self.done, self.noise = url, number, threading.Event(), list[Noise]()

    def run(self) -> None:
        """Until told to stop."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            while not self.done.is_set():
                number = len(self.noise)
                before = _position(connection)
                query = (
                    "INSERT INTO ledger.noise VALUES (%s, %s)"
                    " RETURNING pg_current_xact_id()::text::bigint %% (1::bigint << 32)"
                )
                row: Any = connection.execute(query, (self.number, number)).fetchone()
                self.noise.append(Noise(self.number, number, int(row[0]), before, _position(connection)))
                self.done.wait(0.01)


class Author:
    """Makes a ledger on a running server."""

    def __init__(self, checkout: Checkout, rng: random.Random) -> None:
        self.checkout, self.rng, self.ledger = checkout, rng, Ledger()
        self.environment = checkout.environment
        self.url = self.environment.database_url(self.environment.superuser)
        self.sessions: list[Session] = []
        self.prepared: dict[str, tuple[int, dict[int, dict[str, Any]], tuple[int, ...]]] = {}
        self.rows: dict[str, dict[int, dict[str, Any]]] = {}

    def write(self, transactions: int) -> Ledger:
        """So many transactions of the sessions, with base backups, marks and checkpoints in between."""
        with psycopg.connect(self.url, autocommit=True) as self.control:
            self.control.execute("CREATE SCHEMA IF NOT EXISTS ledger")
            self.control.execute("CREATE TABLE IF NOT EXISTS ledger.noise (writer int, number int)")
            self.sessions = [Session(self.url, n, self.rng) for n in range(SESSIONS)]
            self._back_up()
            writers = [Writer(self.url, n) for n in range(WRITERS)]
            for writer in writers:
                writer.start()
            try:
                self._transactions(transactions)
            finally:
                for writer in writers:
                    writer.done.set()
                    writer.join()
                    self.ledger.noise += writer.noise
                for session in self.sessions:
                    session.connection.close()
        return self.ledger

    def _transactions(self, count: int) -> None:
        self._enter(0, (), _position(self.control))
        backups = set(self.rng.sample(range(count), min(count, 1 + count // 150)))
        while len(self.ledger.entries) < count:
            session = self.rng.choice(self.sessions)
            if not session.open:
                session.begin()
            elif self.rng.random() < 0.6:
                session.step()
            else:
                self._end(session)
            if len(self.ledger.entries) in backups:
                backups.discard(len(self.ledger.entries))
                self._back_up()
            self._now_and_then()

    def _end(self, session: Session) -> None:
        how = self.rng.choices(["commit", "rollback", "prepare"], weights=[75, 15, 10])[0]
        if how == "commit":
            before = _position(self.control)
            session.end("COMMIT")
            self._committed(session, session.pending, session.xid, tuple(session.parts), before)
        elif how == "rollback":
            session.end("ROLLBACK")
            self.ledger.rolled_back.append(session.xid)
        else:
            name = f"p{session.number}_{session.generation}"
            session.end(f"PREPARE TRANSACTION '{name}'")
            self.prepared[name] = (session.xid, session.pending[session.table], tuple(session.parts))
            session.generation += 1
            # It changed one table only, which is nobody's until it ends.
            session.committed.pop(f"s{session.number}_{session.generation - 1}", None)
            self._enter(0, (), _position(self.control))

    def _now_and_then(self) -> None:
        chance = self.rng.random()
        if self.prepared and chance < 0.05:
            self._end_prepared(self.rng.choice(sorted(self.prepared)))
        elif chance < 0.07:
            self._mark()
        elif chance < 0.075:
            self.control.execute("CHECKPOINT")
        elif chance < 0.077:
            self.control.execute("SELECT pg_switch_wal()")

    def _end_prepared(self, name: str) -> None:
        xid, rows, parts = self.prepared.pop(name)
        before = _position(self.control)
        if self.rng.random() < 0.7:
            self.control.execute(f"COMMIT PREPARED '{name}'".encode())
            self._committed(None, {f"s{name[1:]}": rows}, xid, parts, before)
        else:
            self.control.execute(f"ROLLBACK PREPARED '{name}'".encode())
            self.ledger.rolled_back.append(xid)
            self._enter(0, (), before)

    def _committed(
        self, session: Session | None, changed: dict[str, Any], xid: int, parts: tuple[int, ...], before: int
    ) -> None:
        if session:
            session.committed = changed
        self.rows |= {name: dict(rows) for name, rows in changed.items()}
        self._enter(xid, parts, before)

    def _enter(self, xid: int, parts: tuple[int, ...], before: int) -> None:
        moment: Any = (datetime.now(UTC),)
        if xid:
            query = "SELECT pg_xact_commit_timestamp(%s::text::xid)"
            moment = self.control.execute(query, (str(xid),)).fetchone()
        seen: Any = self.control.execute("SELECT clock_timestamp()").fetchone()
        rows = {
            name: frozenset(json.dumps(row, sort_keys=True) for row in rows.values())
            for name, rows in self.rows.items()
        }
        after = _position(self.control)
        entry = Entry(rows, frozenset(self.prepared), xid, parts, before, after, moment[0], seen[0])
        self.ledger.entries.append(entry)

    def _mark(self) -> None:
        query = "SELECT pg_create_restore_point(%s), clock_timestamp() AT TIME ZONE 'UTC' FROM pg_current_xact_id()"
        name, state = f"m{len(self.ledger.marks)}", self.environment.state
        row: Any = self.control.execute(query, (name,)).fetchone()
        mark = marks.Mark(
            name=name,
            kind=marks.Kind.NAMED,
            system_identifier=state.system_identifier,
            incarnation=state.incarnation,
            part=state.part,
            timeline=_timeline(self.control),
            lsn=row[0],
            flushed=row[0],
            made=f"{row[1].isoformat()}+00:00",
        )
        marks.write(Archive(self.environment.settings, state.system_identifier), mark)
        self.ledger.marks[name] = len(self.ledger.entries) - 1

    def _back_up(self) -> None:
        copying.take(self.environment, reason="ledger", now=datetime.now(UTC), progress=lambda *_: None)


@dataclass(frozen=True)
class Case:
    """A target, and the state that it must show; None where it must be refused."""

    kind: str
    target: Target
    expected: int | None


def cases(ledger: Ledger, rng: random.Random, timeline: int) -> Iterator[Case]:
    """Targets of every kind, without end."""
    entries, names = ledger.entries, sorted(ledger.marks)
    commits = [n for n, entry in enumerate(entries) if entry.xid and n]
    while True:
        n = rng.choice(commits)
        entry = entries[n]
        yield Case("time after", AtTime(entry.seen), n)
        yield Case("time exclusive", AtTime(entry.moment - MICROSECOND), n - 1)
        yield Case("xid exclusive", AtXid(entry.xid, timeline), n - 1)
        yield Case("xid inclusive", AtXid(entry.xid, timeline, inclusive=True), n)
        yield Case("lsn before", AtLsn(entry.before, timeline), n - 1)
        yield Case("lsn after", AtLsn(entry.after, timeline), n)
        if n + 1 < len(entries):
            between = rng.randint(entry.after, max(entry.after, entries[n + 1].before))
            yield Case("lsn between", AtLsn(between, timeline), n)
        if names:
            name = rng.choice(names)
            yield Case("mark", AtMark(name), ledger.marks[name])
        if ledger.rolled_back:
            yield Case("xid rolled back", AtXid(rng.choice(ledger.rolled_back), timeline), None)
        if rng.random() < 0.02:
            yield Case("latest", Latest(timeline), len(entries) - 1)


@dataclass
class Outcome:
    """How many targets were restored to, by kind, and every difference."""

    kinds: Counter[str] = field(default_factory=Counter)
    differences: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


class Reader:
    """Restores beside, and compares."""

    def __init__(self, environment: Environment, ledger: Ledger, report: Callable[[str], None]) -> None:
        self.environment, self.ledger, self.outcome, self.report = environment, ledger, Outcome(), report
        self.archive = Archive(environment.settings, environment.state.system_identifier)
        self.beside: Beside = environment.engine.beside
        self.volume = self.beside.volume("ledger")
        self.ends: dict[int, int] = {}

    def run(self, wanted: Sequence[Case]) -> Outcome:
        """Every case; those that begin with the same base backup one after another, forward."""
        self.beside.prepare(lambda _line: None)
        clock = Clock(datetime.now(UTC))
        with planning.look(self.environment, self.archive, clock) as situation:
            self.ends = {n.xid: end.lsn for n in self.ledger.noise for end in situation.positions.commits_of(n.xid)}
            planned = [(case, self._plan(case, situation)) for case in wanted]
        found = [(case, made) for case, made in planned if made]
        for base in sorted({made.base.name for _, made in found}):
            group = [(case, made) for case, made in found if made.base.name == base]
            group.sort(key=lambda pair: (pair[1].stop.lsn, pair[1].stop.inclusive))
            self._forward(group)
        return self.outcome

    def _plan(self, case: Case, situation: Situation) -> plan.Plan | None:
        try:
            made = plan.make(case.target, situation)
        except RefusedError as error:
            self._note(case, "" if case.expected is None else f"refused: {error.message}")
            return None
        if case.expected is None:
            self._note(case, "was not refused")
            return None
        return made

    def _forward(self, group: Sequence[tuple[Case, plan.Plan]]) -> None:
        last = max(group, key=lambda pair: pair[1].end)[1]
        fresh, locked = True, list[tuple[Case, plan.Plan]]()
        try:
            for number, (case, made) in enumerate(group):
                begun = time.monotonic()
                self.beside.end(self.volume)
                if number % FRESH == FRESH - 1:
                    # With no file but the plan's, and to the end: promoted.
                    locked.append((case, made))
                    continue
                if fresh:
                    self._fill(replace(made, segments=last.segments))
                    fresh = False
                recipe = recipes.make(self.environment.settings, self.archive, made)
                rewind.recover(self.beside, self.volume, recipe, lambda _line: None)
                difference = self._difference(case, made)
                if LOCKED in difference:
                    locked.append((case, made))
                else:
                    self._note(case, difference)
                self.outcome.seconds.append(time.monotonic() - begun)
                self.report(f"  {len(self.outcome.seconds)} restores, the last in {self.outcome.seconds[-1]:.2f} s")
            for case, made in locked:
                self._promoted(case, made)
        finally:
            self.beside.remove(self.volume)

    def _promoted(self, case: Case, made: plan.Plan) -> None:
        """Compare after promotion: before it, tables being changed are locked, and nothing prepared is shown."""
        self._fill(made)
        rewind.recover(
            self.beside, self.volume, recipes.make(self.environment.settings, self.archive, made), lambda _line: None
        )
        self._ask("SELECT pg_promote()")
        assert case.expected is not None
        prepared = self._ask("SELECT gid FROM pg_prepared_xacts").split()
        if set(prepared) != self.ledger.entries[case.expected].prepared:
            self._note(case, f"prepared {prepared} instead of {sorted(self.ledger.entries[case.expected].prepared)}")
            return
        for name in prepared:
            self._ask(f"ROLLBACK PREPARED '{name}'")
        self._note(case, self._difference(case, made))

    def _ask(self, script: str) -> str:
        return self.beside.ask(self.volume, script, self.environment.settings.database)

    def _fill(self, made: plan.Plan) -> None:
        self.beside.remove(self.volume)
        self.beside.create(self.volume)
        rewind.fill(self.beside, self.volume, recipes.make(self.environment.settings, self.archive, made))

    def _difference(self, case: Case, made: plan.Plan) -> str:
        assert case.expected is not None
        entry = self.ledger.entries[case.expected]
        script = [
            "SET lock_timeout = '300ms';",
            "SELECT '=' || relname FROM pg_class WHERE relnamespace = 'ledger'::regnamespace AND relkind = 'r';",
            "SELECT '#' || writer || ' ' || number FROM ledger.noise;",
            *(f"SELECT '{name} ' || to_jsonb(t)::text FROM ledger.{name} AS t;" for name in sorted(entry.rows)),
        ]
        try:
            answer = self._ask("\n".join(script))
        except Exception as error:  # noqa: BLE001 - a difference like any other
            return f"cannot be read: {error}"
        return "; ".join(self._differences(entry, made, answer.splitlines()))

    def _differences(self, entry: Entry, made: plan.Plan, lines: Iterable[str]) -> Iterator[str]:
        tables, noise, rows = set[str](), set[tuple[int, int]](), dict[str, set[str]]()
        for line in filter(None, lines):
            if line[0] == "=":
                tables.add(line[1:])
            elif line[0] == "#":
                writer, number = line[1:].split()
                noise.add((int(writer), int(number)))
            else:
                name, _, row = line.partition(" ")
                rows.setdefault(name, set()).add(json.dumps(json.loads(row), sort_keys=True))
        if tables - {"noise"} != set(entry.rows):
            yield f"tables {sorted(tables ^ set(entry.rows) - {'noise'})}"
        yield from (
            f"{name}: {len(rows.get(name, set()) ^ expected)} rows differ"
            for name, expected in entry.rows.items()
            if rows.get(name, set()) != expected
        )
        yield from self._noise(made, noise)

    def _noise(self, made: plan.Plan, there: set[tuple[int, int]]) -> Iterator[str]:
        stop = made.stop.lsn + made.stop.inclusive
        expected = {(n.writer, n.number) for n in self.ledger.noise if self.ends[n.xid] < stop}
        if there != expected:
            yield f"concurrent writers: {len(there ^ expected)} rows differ"
        for n in self.ledger.noise:
            if (n.after <= made.stop.lsn) and (n.writer, n.number) not in there:
                yield f"the commit {n.number} of writer {n.writer} is missing"
            if n.before >= made.end and (n.writer, n.number) in there:
                yield f"the commit {n.number} of writer {n.writer} is too new"

    def _note(self, case: Case, difference: str) -> None:
        self.outcome.kinds[case.kind] += 1
        if difference:
            self.outcome.differences.append(f"{case.kind} {case.target}: {difference}")


def prepare(checkout: Checkout) -> None:
    """Have the checkout's server take transactions in two phases, and make restart points often."""
    with (checkout.root / "compose" / "postgres" / "postgresql.conf").open("a") as stream:
        stream.writelines(f"{name} = {value}\n" for name, value in OPTIONS.items())


def chosen(ledger: Ledger, rng: random.Random, count: int, timeline: int) -> list[Case]:
    """So many targets."""
    source = cases(ledger, rng, timeline)
    return [next(source) for _ in range(count)]


def run(checkout: Checkout, seed: int, transactions: int, targets: int, report: Callable[[str], None]) -> Outcome:
    """Write a ledger on a checkout that is up, and restore to `targets` moments of it."""
    rng = random.Random(seed)  # noqa: S311 - a test that can be repeated
    begun = time.monotonic()
    ledger = Author(checkout, rng).write(transactions)
    wrote = time.monotonic()
    with contextlib.closing(psycopg.connect(checkout.environment.database_url(checkout.environment.superuser))) as c:
        timeline = _timeline(c)
    wanted = chosen(ledger, rng, targets, timeline)
    outcome = Reader(checkout.environment, ledger, report).run(wanted)
    took = sum(outcome.seconds) / max(1, len(outcome.seconds))
    report(
        f"seed {seed}: {len(ledger.entries)} states, {len(ledger.noise)} concurrent commits in {wrote - begun:.0f} s; "
        f"{sum(outcome.kinds.values())} targets in {time.monotonic() - wrote:.0f} s ({took:.2f} s a restore), "
        f"{len(outcome.differences)} differences; {dict(outcome.kinds)}"
    )
    for difference in outcome.differences[:20]:
        report(f"  {difference[:1000]}")
    return outcome


def _position(connection: Connection) -> int:
    row: Any = connection.execute("SELECT pg_current_wal_insert_lsn()::text").fetchone()
    return parse_lsn(row[0])


def _timeline(connection: Connection) -> int:
    row: Any = connection.execute("SELECT pg_walfile_name(pg_current_wal_insert_lsn())").fetchone()
    return int(row[0][:8], 16)


def main() -> int:
    """One seed after another until there were enough targets; exit code 1 where there was a difference."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--engine", default="embedded", choices=["docker", "embedded"])
    parser.add_argument("--targets", type=int, default=100)
    parser.add_argument("--transactions", type=int, default=300)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        checkout = Checkout(Path(folder) / "ledger", ENGINE=arguments.engine, WAL_ARCHIVE="on")
        try:
            prepare(checkout)
            checkout.run("up")
            outcome = run(checkout, arguments.seed, arguments.transactions, arguments.targets, _say)
        finally:
            checkout.remove()
    return 1 if outcome.differences else 0


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - a script's result


if __name__ == "__main__":
    sys.exit(main())
