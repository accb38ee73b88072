"""Sample workflows: one for every organization, and an event for every submission that began it."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from uuid import UUID

from app.db.binary_copy import jsonb
from app.seeds.forms import SUBMISSIONS_PER_ORGANIZATION, submission_count
from app.seeds.plan import CLOCK, SeedTable, identity, organization_count

TRIGGER = "form.submitted"
DEFINITION = jsonb({"steps": [{"do": "notify", "role": "admin"}, {"do": "tag", "with": "lead"}]})

WorkflowRow = tuple[UUID, UUID, str, str, bytes, bool, datetime, datetime]
EventRow = tuple[UUID, UUID, UUID, str, bytes, datetime]


def workflows(size: str) -> Iterator[WorkflowRow]:
    """The workflows of a size, in the order of `TABLE.columns`."""
    for number in range(organization_count(size)):
        tenant = identity("organizations", number)
        yield identity("workflows", number), tenant, "Answer contacts", TRIGGER, DEFINITION, True, CLOCK, CLOCK


def events(size: str) -> Iterator[EventRow]:
    """The events of a size, in the order of `EVENTS.columns`."""
    for number in range(submission_count(size)):
        organization = number // SUBMISSIONS_PER_ORGANIZATION
        payload = jsonb({"submission": str(identity("submissions", number))})
        tenant, workflow = identity("organizations", organization), identity("workflows", organization)
        yield identity("events", number), tenant, workflow, TRIGGER, payload, CLOCK + timedelta(hours=number)


TABLE = SeedTable(
    name="workflows",
    columns={
        "id": "uuid",
        "tenant_id": "uuid",
        "name": "text",
        "trigger": "text",
        "definition": "bytea",
        "enabled": "bool",
        "created_at": "timestamptz",
        "updated_at": "timestamptz",
    },
    rows=workflows,
    count=organization_count,
    kept=frozenset({"updated_at"}),
)
EVENTS = SeedTable(
    name="events",
    columns={
        "id": "uuid",
        "tenant_id": "uuid",
        "workflow_id": "uuid",
        "kind": "text",
        "payload": "bytea",
        "created_at": "timestamptz",
    },
    rows=events,
    count=submission_count,
)
