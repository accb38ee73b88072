"""A paused server leaves recovery: its slot is there before, its own timeline and our passwords are after."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from base64 import b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING

from drydock import postgres
from drydock.checkout import SUPERUSER
from drydock.errors import DrydockError
from drydock.recovery.wal.positions import parse_lsn

if TYPE_CHECKING:
    from drydock.checkout import Role
    from drydock.engine import Beside
    from drydock.recovery.restores.rewind import Paused

TIMEOUT = 600  # seconds for the server to leave recovery
# A server that pauses at the end of recovery is promoted by going on (manual 20.5.6), and at once: pg_promote() waits
# until it looks up from its pause by itself, up to a second (src/backend/access/transam/xlogrecovery.c,
# recoveryPausesHere). Both look every so often whether it is done.
# What the WAL asked for is given to the server's own files, where they have less: transactions that were prepared at
# that moment keep it from starting with less (max_prepared_transactions, manual 20.4).
# The timeline's number is not from pg_control_checkpoint(): the checkpoint comes a while after the promotion.
_PROMOTE = f"""SELECT pg_wal_replay_resume() \\g /dev/null
DO $$
BEGIN
    FOR look IN 1..{TIMEOUT * 100} LOOP
        EXIT WHEN NOT pg_is_in_recovery();
        PERFORM pg_sleep(0.01);
    END LOOP;
END $$;
SELECT NOT pg_is_in_recovery() AS promoted \\gset
\\if :promoted
    BEGIN;
    SELECT pg_logical_emit_message(true, 'drydock', :'signature') \\g /dev/null
    ALTER ROLE {SUPERUSER} PASSWORD :'verifier';
    COMMIT;
    SELECT format('ALTER SYSTEM SET %I = %L', asked.key, asked.value)
    FROM json_each_text(:'raised') asked JOIN pg_settings known ON known.name = asked.key
    WHERE asked.value::int > coalesce((
        SELECT setting FROM pg_file_settings WHERE name = asked.key ORDER BY seqno DESC LIMIT 1), known.boot_val)::int
    \\gexec
    SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) AS timeline \\gset
    \\echo :timeline
    SELECT pg_read_file('pg_wal/' || :'timeline' || '.history');
\\endif
"""  # noqa: S608 - constants
ITERATIONS = 4096  # of SCRAM, as the server itself has them


@dataclass(frozen=True)
class Promoted:
    """The timeline that a server has begun, and the text of its history file."""

    timeline: int
    history: str


def make_slot(beside: Beside, volume: str, name: str) -> int:
    """Make a slot on a server that pauses; returns the position from which on it keeps WAL.

    Made before the promotion it misses nothing that comes after (manual 27.2.6). A slot of a server in recovery begins
    at its last restart point: it is moved to where the timeline will begin, for what is before is in the archive.
    """
    script = (
        f"\\set slot {name}\n"
        "SELECT pg_create_physical_replication_slot(:'slot', true) \\g /dev/null\n"
        "SELECT end_lsn FROM pg_replication_slot_advance(:'slot', pg_last_wal_replay_lsn());"
    )
    return parse_lsn(beside.ask(volume, script))


def promote(beside: Beside, paused: Paused, superuser: Role) -> Promoted:
    """Have a paused server leave recovery, and give its superuser the password of the settings.

    What the WAL asked for is in the server's files then: it starts with them alone.

    Raises:
        DrydockError: where it does not leave recovery.
    """
    # A verifier: the password itself never stands in a statement or in the server's log.
    variables = {
        "verifier": verifier(superuser.password),
        "raised": json.dumps(dict(paused.raised)),
        "signature": postgres.signature("restore"),
    }
    script = "".join(f"\\set {name} '{value}'\n" for name, value in variables.items()) + _PROMOTE
    answer = beside.ask(paused.volume, script)
    if not answer:
        raise DrydockError(f"The server beside has not left recovery after {TIMEOUT} s.", hint="invoke doctor")
    timeline, _, history = answer.partition("\n")
    # psql ends what it prints with a newline of its own; the copy in the archive must be what the archiver will fetch.
    return Promoted(int(timeline, 16), history.removesuffix("\n"))


def refuse_used(promoted: Promoted, known: set[int]) -> None:
    """Stop where a timeline has the number of an earlier one: their WAL would have the same names.

    Raises:
        DrydockError: where it has.
    """
    if promoted.timeline in known:
        raise DrydockError(
            f"The server beside began timeline {promoted.timeline}, which is in the archive already.",
            hint="invoke archive.verify",
        )


def verifier(password: str) -> str:
    """What the server keeps of a password of ASCII characters (RFC 5803), with a salt of its own."""
    salt = secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, ITERATIONS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    parts = [b64encode(part).decode() for part in (salt, stored, hmac.digest(salted, b"Server Key", "sha256"))]
    return f"SCRAM-SHA-256${ITERATIONS}:{parts[0]}${parts[1]}:{parts[2]}"
