"""The floor of `invoke seed` as a plain script: binary COPY of the same rows into empty tables, then their indexes.

Nothing of drydock is imported. Arguments: the size, and the database's libpq URL; without a URL the rows are made and
go nowhere.
"""

import sys
from collections import deque

import psycopg

from app.seeds import TABLES

# As much as the server's configuration and its shared memory allow; an index graph that does not fit takes far longer.
SETTINGS = "SET maintenance_work_mem = '512MB'; SET max_parallel_maintenance_workers = 3"
INDEXES = """
    SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid)
    FROM pg_index WHERE indrelid = %s::regclass AND NOT indisunique
"""


def fill(size: str, url: str) -> None:
    """Load every table in one transaction, each index built once and at the end."""
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(SETTINGS)
        for table in TABLES:
            indexes = cursor.execute(INDEXES, [table.name]).fetchall()
            for name, _ in indexes:
                cursor.execute(f"DROP INDEX {name}")
            with cursor.copy(f"COPY {table.name} ({', '.join(table.columns)}) FROM STDIN (FORMAT BINARY)") as copy:
                copy.set_types(list(table.columns.values()))
                for row in table.rows(size):
                    copy.write_row(row)
            for _, definition in indexes:
                cursor.execute(definition)


def make(size: str) -> None:
    """Make the rows and drop them."""
    for table in TABLES:
        deque(table.rows(size), maxlen=0)


if __name__ == "__main__":
    size, *urls = sys.argv[1:]
    if urls:
        fill(size, urls[0])
    else:
        make(size)
