"""Checks as an `application/health+json` document.

The format of draft-inadarei-api-health-check-06, expired and still the nearest to a standard.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from app.health.check import worst

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.health.check import Check

MEDIA_TYPE: Final = "application/health+json"


def document(checks: Sequence[Check]) -> dict[str, Any]:
    """The document of these checks: the overall status, then the checks by `component:measurement`."""
    found: dict[str, list[dict[str, Any]]] = {}
    for check in checks:
        found.setdefault(check.name, []).append(_entry(check))
    return {"status": str(worst(checks)), **({"checks": found} if found else {})}


def _entry(check: Check) -> dict[str, Any]:
    fields = {
        "componentId": check.part,
        "componentType": "datastore",
        "observedValue": check.value,
        "observedUnit": check.unit,
        "status": str(check.status),
        "time": check.time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "output": check.output,
        **check.details,
    }
    return {name: value for name, value in fields.items() if value not in ("", None)}
