"""A checkout whose WAL is archived, and commits in it that can be gone back to: for tests of `restore --before-xid`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drydock.recovery.archive import progress
from drydock.recovery.wal.positions import parse_lsn

if TYPE_CHECKING:
    from tests.checkout import Checkout


class Numbers:
    """A table of one column, with a row more at each commit."""

    def __init__(self, checkout: Checkout) -> None:
        self.checkout = checkout
        checkout.query("CREATE TABLE IF NOT EXISTS numbers (number int PRIMARY KEY)", role="owner")

    def add(self, number: int) -> str:
        """Commit one; returns its timeline and number as `1:733`: after a restore the number may come again."""
        values = f"INSERT INTO numbers VALUES ({number})"
        query = f"{values} RETURNING pg_walfile_name(pg_current_wal_insert_lsn()), pg_current_xact_id()::text"
        ((segment, xid),) = self.checkout.query(query)
        return f"{int(segment[:8], 16)}:{xid}"

    def all(self) -> list[int]:
        """Those that are there now, in order."""
        return [int(number) for (number,) in self.checkout.query("SELECT number FROM numbers ORDER BY 1")]

    def archived(self) -> None:
        """Wait until everything so far is in the archive."""
        (lsn,) = self.checkout.query("SELECT pg_current_wal_lsn()::text")[0]
        progress.wait_for(self.checkout.environment, parse_lsn(lsn))


def archived(checkout: Checkout) -> Numbers:
    """Bring a checkout up with a base backup, and the table."""
    checkout.run("up")
    numbers = Numbers(checkout)
    checkout.run("backup.base")
    return numbers


def complaints(checkout: Checkout) -> list[str]:
    """What `status` has to say against a checkout, but for the base backup that is about to be taken."""
    checks = checkout.json("status", code=None)["checks"]
    return [
        f"{check['name']}: {check['detail']}"
        for check in checks
        if check["status"] != "pass" and check["name"] != "archive:base"
    ]
