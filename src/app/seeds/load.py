"""Bringing seed rows into a table: plainly where it is new, by comparison where it is not."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

from psycopg import Cursor
from psycopg.sql import SQL, Composed, Identifier

from app.seeds.plan import SeedTable

BATCH_ROWS = 4_000
REPORT_ROWS = 4_000
INDEX_BYTES_PER_ROW = 3_072
"""What a row of 384 dimensions takes in an HNSW graph that is being built, with a reserve."""
MAX_INDEX_BYTES = 512 * 1024**2
INDEX_WORKERS = 3

Row = tuple[Any, ...]
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


def copy_rows(cursor: Cursor[Row], target: str, table: SeedTable, rows: Iterable[Row]) -> Iterator[int]:
    """Send rows by binary COPY, giving the number sent after each."""
    statement = SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(Identifier(target), names(table.columns))
    with cursor.copy(statement) as copy:
        copy.set_types(list(table.columns.values()))
        for done, row in enumerate(rows, 1):
            copy.write_row(row)
            yield done


def copy_all(cursor: Cursor[Row], table: SeedTable, size: str, report: Report) -> int:
    """Fill an empty table."""
    total, done = table.count(size), 0
    with open_to_owner(cursor, table):
        for done in copy_rows(cursor, table.name, table, table.rows(size)):
            if done % REPORT_ROWS == 0 and done < total:
                report(table.name, done, total)
    report(table.name, done, total)
    return done


def merge(cursor: Cursor[Row], table: SeedTable, size: str, report: Report) -> int:
    """Insert the seed rows that are missing and restore those that differ, a batch at a time.

    Rows that are as they should be are read and not locked, so a run without work writes nothing.
    """
    stage, rows = f"seed_{table.name}", table.rows(size)
    total, done, written = table.count(size), 0, 0
    statement = merge_statement(table, stage)
    make_stage = SQL("CREATE TEMPORARY TABLE {} (LIKE {}) ON COMMIT DROP")
    cursor.execute(make_stage.format(Identifier(stage), Identifier(table.name)))
    while sent := sum(1 for _ in copy_rows(cursor, stage, table, islice(rows, BATCH_ROWS))):
        cursor.execute(SQL("ANALYZE {} (id)").format(Identifier(stage)))
        written += cursor.execute(statement).rowcount
        cursor.execute(SQL("TRUNCATE {}").format(Identifier(stage)))
        done += sent
        report(table.name, done, total)
    cursor.execute(SQL("DROP TABLE {}").format(Identifier(stage)))
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


def names(columns: Iterable[str], alias: str = "") -> Composed:
    """Column names as a list, those of an alias where one is given."""
    return SQL(", ").join(Identifier(alias, column) if alias else Identifier(column) for column in columns)


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
