"""The tables, one module per noun; importing this package registers every one of them on `Base.metadata`."""

from app.models.base import EMBEDDING_DIMENSIONS, Base
from app.models.businesses import Business
from app.models.conversations import Conversation
from app.models.messages import Message
from app.models.organizations import Organization
from app.models.users import User

__all__ = [
    "EMBEDDING_DIMENSIONS",
    "Base",
    "Business",
    "Conversation",
    "Message",
    "Organization",
    "User",
]
