"""The database: connections, tenancy and resilience, under the names that a service imports."""

from app.db.breaker import CircuitBreaker
from app.db.database import Database, get_database
from app.db.ledger import Events, PoolStats
from app.db.retry import RetryPolicy
from app.db.tenancy import current_tenant, system_access, tenant_context

__all__ = [
    "CircuitBreaker",
    "Database",
    "Events",
    "PoolStats",
    "RetryPolicy",
    "current_tenant",
    "get_database",
    "system_access",
    "tenant_context",
]
