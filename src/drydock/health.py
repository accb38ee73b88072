"""The health of an environment as an application/health+json document: the project's own, or drydock's readiness."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from drydock import project, readiness
from drydock.checks import Check, Status, worst
from drydock.errors import DrydockError, NotReadyError
from drydock.settings import application_variables, exported

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drydock.environment import Environment

    Document = dict[str, Any]


def document(environment: Environment) -> Document:
    """What [tool.drydock] health returns; without that key, drydock's own readiness checks in the same format.

    Raises:
        NotReadyError: where the project's function fails, or returns something else.
    """
    reference = environment.settings.project.health
    if not reference:
        return _own(environment)
    with application(environment):
        try:
            found = project.load(environment.settings, "health")()
        except DrydockError:
            raise
        except Exception as error:  # it is the project's own code: anything can come out of it
            reason = str(error).strip() or type(error).__name__
            raise NotReadyError(
                f"[tool.drydock] health ({reference}) failed: {reason}", hint="invoke doctor"
            ) from error
    if not isinstance(found, Mapping) or found.get("status") not in set(Status):
        raise NotReadyError(f"[tool.drydock] health ({reference}) returned no application/health+json document.")
    return dict(found)


@contextmanager
def application(environment: Environment) -> Iterator[None]:
    """The variables that a project's application reads are set: its own from .env, and this environment's URLs."""
    ours = {**environment.variables(), "APP_ENV": environment.settings.app_env}
    if environment.settings.app_env == "test":
        # Under one name alone: tests must not find the usual database where they look for theirs.
        ours["DATABASE_URL_TEST"] = ours.pop("DATABASE_URL")
    with exported({**application_variables(environment.settings), **ours}):
        yield


def checks(found: Document) -> list[Check]:
    """A document's entries as checks for people."""
    return [_check(name, entry) for name, entries in found.get("checks", {}).items() for entry in entries]


def _check(name: str, entry: Mapping[str, Any]) -> Check:
    seen = " ".join(str(entry[key]) for key in ("componentId", "observedValue", "observedUnit") if key in entry)
    status = Status(entry["status"])
    detail = ": ".join(filter(None, (seen, entry.get("output", ""))))
    return Check(name, status, detail, "" if status is Status.PASS else "invoke doctor")


def _own(environment: Environment) -> Document:
    found = readiness.checks(environment)
    return {"status": str(worst(found)), "checks": {check.name: [_entry(check)] for check in found}}


def _entry(check: Check) -> Document:
    return {
        "componentType": "datastore",
        "status": str(check.status),
        "time": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "observedValue" if check.status is Status.PASS else "output": check.detail,
    }
