"""Stops that lie within the dropping of a database or a tablespace, moved to before it.

DROP DATABASE makes the database invalid and removes its files in records of their own, before its commit, and whoever
replays these has lost it, committed or not (dropdb() in src/backend/commands/dbcommands.c). DROP TABLESPACE is alike.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from drydock.errors import RefusedError
from drydock.recovery.plans.resolve import Stop
from drydock.recovery.wal.positions import format_lsn

if TYPE_CHECKING:
    from drydock.recovery.plans.questions import Dropping
    from drydock.recovery.plans.resolve import Resolved
    from drydock.recovery.plans.situation import Situation
    from drydock.recovery.wal.positions import Descent


def spared(resolved: Resolved, situation: Situation) -> Resolved:
    """The same, or an earlier stop with the same transactions, at which nothing is half dropped.

    A database may be so all the same, where other transactions were committed meanwhile. Most are drydock's own, which
    a reset has dropped behind it; whether one is not, the server beside tells by its name.

    Raises:
        RefusedError: where a tablespace is.
    """
    descent = situation.chain.descent(resolved.stop.timeline)
    for drop in situation.positions.dropping(descent, _past(resolved.stop)):
        if not situation.positions.between(descent, drop.lsn, _past(resolved.stop)).transactions:
            resolved = _before(drop, resolved, descent, situation)
        elif drop.ended is not None and drop.what == "tablespace":
            where = f"{drop.timeline}:{format_lsn(drop.lsn)}"
            raise RefusedError(
                f"Transaction {drop.xid} was dropping a tablespace at that moment, which cannot be stopped halfway, "
                "and other transactions were committed meanwhile.",
                hint=f"invoke restore --lsn {where} goes back to right before it began.",
            )
    return resolved


def _past(stop: Stop) -> int:
    """The position that all records which are replayed begin before."""
    return stop.lsn + stop.inclusive


def _before(drop: Dropping, resolved: Resolved, descent: Descent, situation: Situation) -> Resolved:
    """Where no record says how a drop ended, a crash did; what a base backup holds of it since is as it was."""
    crashed = drop.ended is None and any(
        drop.lsn < base.stop <= resolved.latest and descent.holds(base.timeline, base.stop) for base in situation.bases
    )
    first = situation.positions.record_from(descent, drop.lsn)
    if crashed or first is None:
        return resolved
    return replace(resolved, stop=Stop(drop.timeline, drop.lsn, inclusive=False), end=first[1], latest=drop.lsn)
