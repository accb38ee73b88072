"""Commits that wait for the archive: the archiver as the server's synchronous standby, while one is connected.

It is asked for once the archiver has connected, and no longer whenever a task finds that it has not. So what `up` does
before never waits for what `up` starts later. Between two tasks an archiver that dies has every commit wait for it,
and `status` says so. Sessions with synchronous_commit at `local` or `off` do not wait, and those of tasks are such.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from drydock import wire
from drydock.checkout import SUPERUSER
from drydock.errors import NotReadyError

if TYPE_CHECKING:
    from collections.abc import Callable

    from drydock.checkout import Checkout
    from drydock.postgres import Connection

SWITCH = "WAL_ARCHIVE_SYNCHRONOUS"
SETTING = "synchronous_standby_names"
# What pg_receivewal calls itself. With --synchronous it reports each flush at once, and may stand as a synchronous
# standby (its manual page); it replays nothing, so that a session that asks for remote_apply waits for ever.
STANDBY = "pg_receivewal"
NOBODY = f"{SETTING}="
STATE = "SELECT state, sync_state FROM pg_stat_replication WHERE application_name = %s ORDER BY sync_state DESC"
TIMEOUT, POLL = 15.0, 0.01  # seconds
ASKING = 5.0  # seconds
IN_VAIN = f"""
    SELECT 1 FROM (SELECT setting FROM pg_file_settings WHERE name = '{SETTING}' ORDER BY seqno DESC LIMIT 1) AS names
    WHERE setting = '{STANDBY}' AND NOT EXISTS (SELECT FROM pg_stat_replication WHERE application_name = '{STANDBY}')
"""  # noqa: S608 - names of our own


def demand(connection: Connection, report: Callable[[str], None]) -> None:
    """Have commits return only once the archiver has them on its disk; leaves alone what somebody else has set.

    Args:
        connection: as the superuser, autocommit.
        report: takes a line where somebody has, or the server does not take the archiver for a standby.
    """
    names = _standbys(connection)
    if names == STANDBY:
        return
    if names:
        report(f"{SETTING} is {names!r}: left as it is, so commits do not wait for the archive")
        return
    connection.execute(f"ALTER SYSTEM SET {SETTING} = '{STANDBY}'")
    connection.execute("SELECT pg_reload_conf()")
    deadline = time.monotonic() + TIMEOUT
    while not (found := connection.execute(STATE, (STANDBY,)).fetchone()) or found[1] != "sync":
        if time.monotonic() > deadline:
            release(connection)
            report(f"commits do not wait for the archive: it is {', '.join(map(str, found or ['not connected']))}")
            return
        time.sleep(POLL)


def release(connection: Connection) -> None:
    """Have no commit wait for the archiver; those that do return. Leaves alone what somebody else has set."""
    if _standbys(connection) == STANDBY:
        connection.execute(f"ALTER SYSTEM RESET {SETTING}")
        connection.execute("SELECT pg_reload_conf()")


def release_in_vain(checkout: Checkout) -> None:
    """Have no commit wait where no archiver is connected; nothing happens where the server does not answer.

    A session that waits does not end when it is told to (SyncRepWaitForLSN of syncrep.c): neither does a server then,
    nor DROP DATABASE … (FORCE).
    """
    if not checkout.state.part:
        return
    try:
        with wire.connect(checkout, checkout.superuser, SUPERUSER, timeout=ASKING) as session:
            if session.query(IN_VAIN):
                session.query(f"ALTER SYSTEM RESET {SETTING}")
                session.query("SELECT pg_reload_conf()")
    except (OSError, NotReadyError):
        return  # where no server of ours answers nobody waits


def _standbys(connection: Connection) -> str:
    """As the files have it: a session's own value may be from before the last reload."""
    query = "SELECT setting FROM pg_file_settings WHERE name = %s ORDER BY seqno DESC LIMIT 1"
    row = connection.execute(query, (SETTING,)).fetchone()
    return str(row[0]) if row else ""
