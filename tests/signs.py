"""Signs in the data, by which a state is known again, and a base backup to go back from."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.checkout import Checkout

SIGNS = "SELECT coalesce(array_agg(name ORDER BY name), '{}') FROM organizations WHERE slug LIKE 'sign-%'"


def sign(shop: Checkout, name: str) -> None:
    """Leave a row by which the data is known again."""
    shop.query(f"INSERT INTO organizations (id, slug, name) VALUES (gen_random_uuid(), 'sign-{name}', '{name}')")


def signs(shop: Checkout) -> list[str]:
    """The rows that were left."""
    found: list[str] = shop.query(SIGNS)[0][0]
    return found


def levels(shop: Checkout) -> tuple[int, int]:
    """How many levels there are to undo and to do again."""
    listed = shop.json("undo.list")
    return len(listed["undo"]), len(listed["redo"])


def take_base(shop: Checkout) -> None:
    """A base backup now: `up` has one taken when it has ended."""
    from drydock.recovery.bases import copying

    copying.take(shop.environment, reason="a test", now=datetime.now(UTC), progress=lambda *_counts: None)
