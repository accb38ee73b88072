"""Which tables a user means, and which others those cannot do without."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from drydock.backup import table_names
from drydock.errors import DrydockError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drydock.postgres import Connection

_REFERENCES = """SELECT n.nspname, c.relname, fn.nspname, f.relname FROM pg_constraint k
    JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_class f ON f.oid = k.confrelid JOIN pg_namespace fn ON fn.oid = f.relnamespace
    WHERE k.contype = 'f'"""


def with_what_they_refer_to(connection: Connection, wanted: Sequence[str], everything: list[str]) -> list[str]:
    """The tables wanted, with all that their foreign keys lead to: what can be restored without anything else.

    Keys to a partitioned table lead to its partitions, which have the rows.

    Raises:
        DrydockError: where there is no table of such a name.
    """
    chosen = {known(name, everything) for name in wanted}
    references = [
        (table_names.join(str(schema), str(table)), table_names.join(str(other_schema), str(other)))
        for schema, table, other_schema, other in connection.execute(_REFERENCES)
    ]
    while more := {other for table, other in references if table in chosen} - chosen:
        chosen |= more
    return sorted(chosen & set(everything))


def known(name: str, everything: Sequence[str]) -> str:
    """The qualified name of a table that may be given without its schema, or as in SQL.

    Raises:
        DrydockError: where there is none such, naming what is near.
    """
    for candidate in table_names.readings(name):
        if candidate in everything:
            return candidate
    near = difflib.get_close_matches(name, [table.removeprefix("public.") for table in everything], n=1)
    raise DrydockError(
        f"There is no table {name!r}.{f' Did you mean {near[0]}?' if near else ''}",
        hint="Name it as in SQL, with its schema where that is not public.",
    )
