"""Sample forms: a published one and a draft for every organization, with submissions of the published one."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from uuid import UUID

from app.db.binary_copy import jsonb
from app.seeds.plan import CLOCK, SeedTable, generator, identity, organization_count
from app.seeds.words import FIRST_NAMES, TOPICS, pick

SUBMISSIONS_PER_ORGANIZATION = 4
TEXT = {"type": "string", "minLength": 1}
FORMS = (
    ("contact", "Contact us", "published", {"name": TEXT, "subject": TEXT}),
    ("feedback", "How did we do?", "draft", {"score": {"type": "integer", "minimum": 0, "maximum": 10}}),
)

FormRow = tuple[UUID, UUID, str, str, str, bytes, datetime, datetime]
SubmissionRow = tuple[UUID, UUID, UUID, bytes, datetime, datetime]


def form_count(size: str) -> int:
    """The number of forms in a size."""
    return organization_count(size) * len(FORMS)


def submission_count(size: str) -> int:
    """The number of submissions in a size."""
    return organization_count(size) * SUBMISSIONS_PER_ORGANIZATION


def forms(size: str) -> Iterator[FormRow]:
    """The forms of a size, in the order of `TABLE.columns`."""
    for number in range(form_count(size)):
        organization, which = divmod(number, len(FORMS))
        slug, title, status, properties = FORMS[which]
        fields = jsonb({"type": "object", "properties": properties, "required": sorted(properties)})
        tenant = identity("organizations", organization)
        yield identity("forms", number), tenant, slug, title, status, fields, CLOCK, CLOCK


def submissions(size: str) -> Iterator[SubmissionRow]:
    """The submissions of a size, in the order of `SUBMISSIONS.columns`."""
    rng = generator("submissions")
    for number in range(submission_count(size)):
        organization = number // SUBMISSIONS_PER_ORGANIZATION
        at = CLOCK + timedelta(hours=number)
        answers = jsonb({"name": pick(rng, FIRST_NAMES), "subject": pick(rng, TOPICS).name})
        tenant, form = identity("organizations", organization), identity("forms", organization * len(FORMS))
        yield identity("submissions", number), tenant, form, answers, at, at


TABLE = SeedTable(
    name="forms",
    columns={
        "id": "uuid",
        "tenant_id": "uuid",
        "slug": "text",
        "title": "text",
        "status": "text",
        "fields": "bytea",
        "created_at": "timestamptz",
        "updated_at": "timestamptz",
    },
    rows=forms,
    count=form_count,
    kept=frozenset({"updated_at"}),
)
SUBMISSIONS = SeedTable(
    name="submissions",
    columns={
        "id": "uuid",
        "tenant_id": "uuid",
        "form_id": "uuid",
        "answers": "bytea",
        "created_at": "timestamptz",
        "updated_at": "timestamptz",
    },
    rows=submissions,
    count=submission_count,
    kept=frozenset({"updated_at"}),
)
