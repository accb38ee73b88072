"""The audit trail: an entry is written in the transaction of the change it tells of, never without it.

with tenant_context(tenant_id), database.session() as session:
user = session.get_one(User, user_id)
user.role = "admin"
audit.record(session, "user.promoted", user, actor_id=me, reason="replaces Ada from May on")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import inspect

from app.models import AuditEvent

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncSession
    from sqlalchemy.orm import InstanceState, Session

    from app.models import Base

SECRET = "secret"  # noqa: S105 (the key of a column's `info`, no secret)
HIDDEN = "(hidden)"


def record(
    session: Session | AsyncSession,
    action: str,
    subject: Base | None = None,
    *,
    actor_id: UUID | None = None,
    reason: str | None = None,
) -> AuditEvent:
    """Add an audit event to the session, to be committed or rolled back with everything else in it.

    The event belongs to the current tenant. Call it before the change is flushed: `changes` then maps each column of
    the subject that was set to its old and its new value, `(hidden)` for a column whose `info` says it is secret.

    Args:
        session: where the change happens.
        action: lower-case words joined by dots and underscores, such as `user.promoted`.
        subject: the row that changes, which must have its id; none for what is no row's.
        actor_id: the user who acts.
        reason: why, in the actor's words.

    Raises:
        ValueError: the subject has no id yet, so that the event could not name it.
    """
    event = AuditEvent(action=action, actor_id=actor_id, reason=reason)
    if subject is not None:
        state: InstanceState[Any] = inspect(subject)
        event.subject_id = getattr(subject, "id", None)
        if event.subject_id is None:
            raise ValueError(f"A new {type(subject).__name__} has no id before it is flushed: give it one.")
        event.subject_table = str(state.mapper.local_table)
        event.changes = _changes(state)
    session.add(event)
    return event


def _changes(state: InstanceState[Any]) -> dict[str, Any]:
    """Old and new value of every column that was set since the row was loaded."""
    found = {}
    for attribute in state.mapper.column_attrs:
        column, history = attribute.columns[0], state.attrs[attribute.key].history
        if history.has_changes():
            values = [_plain(next(iter(side), None)) for side in (history.deleted, history.added)]
            found[column.name] = [HIDDEN, HIDDEN] if column.info.get(SECRET) else values
    return found


def _plain(value: object) -> object:
    """A value as JSON can hold it."""
    return value if value is None or isinstance(value, bool | int | float | str | dict | list) else str(value)
