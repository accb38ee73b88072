"""Tablespaces outside of the data directory: no base backup holds them, and a second server would write to theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drydock.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterable

QUERY = "SELECT spcname FROM pg_tablespace WHERE spcname !~ '^pg_' ORDER BY 1"


def problem(names: Iterable[str]) -> RefusedError | None:
    """Why a cluster with tablespaces of its own can be neither backed up as a whole nor restored; None without any."""
    found = list(names)
    if not found:
        return None
    return RefusedError(
        f"The cluster has tablespaces outside of its data directory ({', '.join(found)}): "
        "no base backup can hold them, and no moment since they were made can be restored.",
        hint="Move what is in them: ALTER TABLE … SET TABLESPACE pg_default; "
        f"DROP TABLESPACE {found[0]}; then invoke backup.base",
    )
