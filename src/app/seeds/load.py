"""Bringing seed rows into a table: plainly where it is new, by comparison where it is not."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from psycopg import Cursor
from psycopg.sql import SQL, Composed, Identifier

from app.db.binary_copy import Row, Stage, copy_rows, names
from app.seeds.plan import SeedTable

BATCH_ROWS = 4_000
REPORT_ROWS = 4_000
INDEX_BYTES_PER_ROW = 3_072
"""What a row of 384 dimensions takes in an HNSW graph that is being built, with a reserve."""
MAX_INDEX_BYTES = 512 * 1024**2
INDEX_WORKERS = 3

Report = Callable[[str, int, int], None]

PLAIN_INDEXES = """
    SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid)
    FROM pg_index WHERE indrelid = %s::regclass AND NOT indisunique
"""
RAISE_MEMORY = """
    SELECT set_config('maintenance_work_mem', %(kilobytes)s || 'kB', true)
    WHERE pg_size_bytes(current_setting('maintenance_work_mem')) < %(kilobytes)s::bigint * 1024
"""
RAISE_WORKERS = """
    SELECT set_config('max_parallel_maintenance_workers', %(workers)s::text, true)
    WHERE current_setting('max_parallel_maintenance_workers')::int < %(workers)s::int
"""


def load(cursor: Cursor[Row], table: SeedTable, size: str, report: Report) -> int:
    """Make a table contain the seed rows of a size; the number of rows written.

    Indexes are built anew where most rows will be: adding 100k rows to an HNSW index takes four times as long.
    """
    total = table.count(size)
    present = count_rows(cursor, table)
    report(table.name, 0, total)
    if 2 * present > total:
        return merge(cursor, table, size, report)
    with rebuilt_indexes(cursor, table, total):
        return merge(cursor, table, size, report) if present else copy_all(cursor, table, size, report)


def count_rows(cursor: Cursor[Row], table: SeedTable) -> int:
    """All rows of a table, seeded or not."""
    row = cursor.execute(SQL("SELECT count(*) FROM {}").format(Identifier(table.name))).fetchone()
    return int(row[0]) if row else 0


def copy_all(cursor: Cursor[Row], table: SeedTable, size: str, report: Report) -> int:
    """Fill an empty table."""
    rows = reported(table, size, report)
    with open_to_owner(cursor, table):
        done = copy_rows(cursor, table.name, table.columns, rows)
    report(table.name, done, table.count(size))
    return done


def reported(table: SeedTable, size: str, report: Report) -> Iterator[Row]:
    """A table's rows, with a report now and then of how many were taken."""
    total = table.count(size)
    for done, row in enumerate(table.rows(size)):
        if done and done % REPORT_ROWS == 0:
            report(table.name, done, total)
        yield row


def merge(cursor: Cursor[Row], table: SeedTable, size: str, report: Report) -> int:
    """Insert the seed rows that are missing and restore those that differ, a batch at a time.

    Rows that are as they should be are read and not locked, so a run without work writes nothing.
    """
    stage = Stage(f"seed_{table.name}", table.name, table.columns)
    total, done, written = table.count(size), 0, 0
    statement = merge_statement(table, stage.name)
    send = partial(copy_rows, cursor, stage.name, stage.columns)
    for sent in stage.batches(lambda text: cursor.execute(text.encode()), send, table.rows(size), BATCH_ROWS):
        cursor.execute(SQL("ANALYZE {} (id)").format(Identifier(stage.name)))
        written += cursor.execute(statement).rowcount
        done += sent
        report(table.name, done, total)
    return written


def merge_statement(table: SeedTable, stage: str) -> Composed:
    """The statement that writes a stage's missing and different rows to its table."""
    restored = [column for column in table.columns if column not in {"id", *table.kept}]
    return SQL(
        "INSERT INTO {table} ({columns}) SELECT {staged} FROM {stage} AS s LEFT JOIN {table} AS t ON t.id = s.id"
        " WHERE t.id IS NULL OR ({there}) IS DISTINCT FROM ({wanted})"
        " ON CONFLICT (id) DO UPDATE SET {changes}"
    ).format(
        table=Identifier(table.name),
        stage=Identifier(stage),
        columns=names(table.columns),
        staged=names(table.columns, "s"),
        there=names(restored, "t"),
        wanted=names(restored, "s"),
        changes=SQL(", ").join(SQL("{0} = excluded.{0}").format(Identifier(column)) for column in restored),
    )


@contextmanager
def rebuilt_indexes(cursor: Cursor[Row], table: SeedTable, rows: int) -> Iterator[None]:
    """Drop a table's plain indexes for the length of a block, then build them as they were and update statistics."""
    indexes = cursor.execute(PLAIN_INDEXES, [table.name]).fetchall()
    for name, _definition in indexes:
        cursor.execute(f"DROP INDEX {name}")
    yield
    allow_memory(cursor, rows)
    for _name, definition in indexes:
        cursor.execute(definition)
    cursor.execute(SQL("ANALYZE {}").format(Identifier(table.name)))


@contextmanager
def open_to_owner(cursor: Cursor[Row], table: SeedTable) -> Iterator[None]:
    """Exempt a table's owner from its policies for the length of a block: COPY FROM is refused under them."""
    alter = SQL("ALTER TABLE {} {} ROW LEVEL SECURITY")
    cursor.execute(alter.format(Identifier(table.name), SQL("NO FORCE")))
    yield
    cursor.execute(alter.format(Identifier(table.name), SQL("FORCE")))


def allow_memory(cursor: Cursor[Row], rows: int) -> None:
    """Let this transaction's index builds use what so many rows need, unless the server allows more already."""
    needed = min(rows * INDEX_BYTES_PER_ROW, MAX_INDEX_BYTES)
    cursor.execute(RAISE_MEMORY, {"kilobytes": needed // 1024})
    cursor.execute(RAISE_WORKERS, {"workers": INDEX_WORKERS})
