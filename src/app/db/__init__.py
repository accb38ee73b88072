"""The database: connections, tenancy and resilience, under the names that a service imports."""

from app.db.database import Database, get_database
from app.db.ledger import Events, PoolStats
from app.db.tenancy import current_tenant, system_access, tenant_context

__all__ = [
    "Database",
    "Events",
    "PoolStats",
    "current_tenant",
    "get_database",
    "system_access",
    "tenant_context",
]
