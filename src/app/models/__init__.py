"""The tables, one module per noun; importing this package registers every one of them on `Base.metadata`."""

from app.models.audit_events import AuditEvent
from app.models.base import EMBEDDING_DIMENSIONS, Base, TenantMixin, TenantScoped, tenant_key
from app.models.brand_kits import BrandKit
from app.models.businesses import Business
from app.models.conversations import Conversation
from app.models.forms import Form, Submission
from app.models.knowledge import KnowledgeBase, KnowledgeChunk
from app.models.messages import Message
from app.models.organizations import Organization
from app.models.users import User
from app.models.workflows import Event, Workflow

__all__ = [
    "EMBEDDING_DIMENSIONS",
    "AuditEvent",
    "Base",
    "BrandKit",
    "Business",
    "Conversation",
    "Event",
    "Form",
    "KnowledgeBase",
    "KnowledgeChunk",
    "Message",
    "Organization",
    "Submission",
    "TenantMixin",
    "TenantScoped",
    "User",
    "Workflow",
    "tenant_key",
]
